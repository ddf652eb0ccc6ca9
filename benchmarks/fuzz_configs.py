"""What a stranger's model can do to the parent process: configs with changed values, taken through all that it does.

Each config.json and generation_config.json is read, planned, printed, estimated and laid out as made-up weights, beside
a weight file that takes no room. Prints how many were refused and how many came through, and each traceback by its
place; exits 1 where there is one.

usage: fuzz_configs.py [COUNT] [--seed N] [--processes N]
"""

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.models.misshapen import Tally, try_all

# A process has so many to do before it tells of them.
PORTION = 100


def portion(count: int, seed: int) -> Tally:
    """What became of some changed configs."""
    with tempfile.TemporaryDirectory() as folder:
        return try_all(count, seed, Path(folder))


def main() -> int:
    """Change, try, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    counts = [min(PORTION, given.count - begun) for begun in range(0, given.count, PORTION)]
    total = Tally()
    with ProcessPoolExecutor(given.processes) as pool:
        for tally in pool.map(portion, counts, range(given.seed, given.seed + len(counts))):
            total.add(tally)
            print(".", end="", flush=True)
    print("\n" + ", ".join(f"{count} {name}" for name, count in total.counts.items()))
    for key, count in total.tracebacks.most_common():
        print(f"{count:6} x {key}\n         {total.examples[key]}")
    print(f"tracebacks: {total.tracebacks.total()} of {len(total.tracebacks)} kinds")
    return int(bool(total.tracebacks))


if __name__ == "__main__":
    sys.exit(main())
