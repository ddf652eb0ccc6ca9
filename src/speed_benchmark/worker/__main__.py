"""Run a worker: `python -m speed_benchmark.worker DESCRIPTOR`, with its job as a line on standard input."""

import sys

from speed_benchmark.worker.worker import main

if __name__ == "__main__":
    sys.exit(main())
