"""Measure how fast vllm generates: the command line of the Qwen2.5 speed report."""

import sys

try:
    from speed_benchmark.cli import script
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed; run: pip install -r requirements-perf-vllm.txt")

if __name__ == "__main__":
    script("vllm")
