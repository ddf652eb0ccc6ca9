"""The command line of a fuzzer: inputs are tried in portions by several processes; prints what became of them."""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from tests.fuzzing import Tally


def fuzz(description: str | None, count: int, each: int, portion: Callable[[int, int], Tally]) -> int:
    """Try `count` inputs where no other number is given, `each` at a time, by `portion(count, seed)`.

    Returns the exit status: 1 where there was a traceback.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    counts = [min(each, given.count - begun) for begun in range(0, given.count, each)]
    total = Tally()
    with ProcessPoolExecutor(given.processes) as pool:
        for tally in pool.map(portion, counts, range(given.seed, given.seed + len(counts))):
            total.add(tally)
            print(".", end="", flush=True)
    print("\n" + ", ".join(f"{count} {name}" for name, count in total.counts.items()))
    for key, number in total.tracebacks.most_common():
        print(f"{number:6} x {key}\n         {total.examples[key]}")
    print(f"tracebacks: {total.tracebacks.total()} of {len(total.tracebacks)} kinds")
    return int(bool(total.tracebacks))
