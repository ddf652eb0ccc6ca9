"""Measure how fast transformers generates: the command line of the Qwen2.5 speed report."""

import sys

try:
    from speed_benchmark.cli import script
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed; run: pip install -r requirements-perf-transformers.txt")

if __name__ == "__main__":
    script("transformers")
