"""How fast the command line answers, beside the bare interpreter in the same run.

Prints the medians of `python -c pass`, `speed-benchmark --help` and a refused input, alternating, and their
ratios; exits 1 where --help takes more than 10 times the interpreter's start, a refusal more than 0.5 s, or
either imports torch.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15
CLI = "from speed_benchmark.cli import main; main()"
REFUSED = [
    "run",
    "--engine",
    "transformers",
    "--model_id_or_path",
    "Qwen/Qwen2.5-0.5B-Instruct",
    "--context_length",
    "0",
]
CASES = {
    "bare interpreter": ["-c", "pass"],
    "speed-benchmark --help": ["-c", CLI, "--help"],
    "refused input": ["-c", CLI, *REFUSED],
}


def seconds(arguments: list[str]) -> float:
    """How long one start of the interpreter with `arguments` takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    return time.perf_counter() - start


def imports_torch(arguments: list[str]) -> bool:
    """Whether torch is among the modules that a start with `arguments` imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=False)
    return any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())


def main() -> int:
    """Measure, print, judge."""
    times: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(ROUNDS):
        for case, arguments in CASES.items():
            times[case].append(seconds(arguments))
    medians = {case: statistics.median(values) for case, values in times.items()}
    bare = medians["bare interpreter"]
    failed = False
    for case, arguments in CASES.items():
        torch = imports_torch(arguments)
        failed |= torch
        print(f"{case:24} {medians[case] * 1000:7.1f} ms  {medians[case] / bare:5.1f} x  imports torch: {torch}")
    failed |= medians["speed-benchmark --help"] > 10 * bare or medians["refused input"] > 0.5
    print("FAILED" if failed else "ok: --help within 10 x, refusal within 0.5 s, no torch")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
