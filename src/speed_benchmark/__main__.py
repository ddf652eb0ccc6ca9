"""`python -m speed_benchmark` is the `speed-benchmark` command."""

from speed_benchmark.cli import main

main()
