"""What a row of the report costs as one sweep, beside as many single calls, and where the time goes.

A row is one model at some lengths. As single calls it is one process per length and repeat, each loading the model
anew, as the original scripts do it. A few of these are run and timed, at lengths from first to last, and their mean
stands for all. The ideal is one load, and per length the warm-ups and the repeats; the rest is the tool's own. Exits 1
where single calls take less than 5 times the sweep, or the sweep more than 1.1 times the ideal (the fake engine's time
is virtual: for it this only prints).

usage: sweep_cost.py ENGINE [--model ID] [--lengths 1,64,…] [--generate N] [--repeats N] [--calls N] [flags of `run`]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store

LEAST_GAIN = 5.0
MOST_OVER_IDEAL = 1.1


def timed(arguments: argparse.Namespace, more: list[str], out: Path, lengths: str, repeats: int) -> float:
    """Seconds of one command of the tool."""
    command = [
        *(sys.executable, "-m", "speed_benchmark", "run", "--engine", arguments.engine, "--quiet"),
        *("--model_id_or_path", arguments.model, "--context_length", lengths, "--repeats", str(repeats)),
        *("--generate_length", str(arguments.generate), "--outputs_dir", str(out), *more),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def records(out: Path) -> list[Record]:
    """The records of a command; all must be ok."""
    found = [record for _, record in Store(out).records() if isinstance(record, Record)]
    assert all(record.outcome is Outcome.OK for record in found)
    return found


def requests_s(found: list[Record]) -> tuple[float, float]:
    """Seconds of all warm-ups and of all repeats."""
    warmups_s = sum(sample.duration_s for record in found for sample in record.warmups)
    return warmups_s, sum(sample.duration_s for record in found for sample in record.samples)


def main() -> int:
    """Run both ways and print the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--lengths", default="1,2048,6144,14336,22528,30720")
    parser.add_argument("--generate", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calls", type=int, default=2, help="single calls to time")
    arguments, more = parser.parse_known_args()
    lengths = arguments.lengths.split(",")
    with tempfile.TemporaryDirectory() as folder:
        timed(arguments, more, Path(folder) / "first", lengths[0], 1)  # fetches or makes the weights, fills caches
        sweep_s = timed(arguments, more, Path(folder) / "sweep", arguments.lengths, arguments.repeats)
        chosen = [
            lengths[round(number * (len(lengths) - 1) / max(1, arguments.calls - 1))]
            for number in range(arguments.calls)
        ]
        call_s = [
            timed(arguments, more, Path(folder) / f"call{number}", length, 1) for number, length in enumerate(chosen)
        ]
        found = records(Path(folder) / "sweep")
    count = len(lengths) * arguments.repeats
    calls_s = count * sum(call_s) / len(call_s)
    load_s = found[0].load_s or 0.0
    warmups_s, repeats_s = requests_s(found)
    ideal_s = load_s + warmups_s + repeats_s
    print(f"{arguments.engine}, {arguments.model}, inputs {arguments.lengths}, output {arguments.generate}")
    rows = [
        (f"{count} single calls (from {len(call_s)})", calls_s),
        ("one sweep", sweep_s),
        ("  load", load_s),
        ("  warm-ups", warmups_s),
        ("  repeats", repeats_s),
        ("  the rest: start, import, readings, storing", sweep_s - ideal_s),
    ]
    for name, seconds in rows:
        print(f"{name:<46}{seconds:>10.1f} s{100 * seconds / sweep_s:>8.1f} %")
    gain, over = calls_s / sweep_s, sweep_s / ideal_s
    print(f"single calls / sweep {gain:.2f} (at least {LEAST_GAIN}; of an ideal sweep {calls_s / ideal_s:.2f})")
    print(f"sweep / ideal {over:.3f} (at most {MOST_OVER_IDEAL})")
    return 0 if arguments.engine == "fake" or (gain >= LEAST_GAIN and over <= MOST_OVER_IDEAL) else 1


if __name__ == "__main__":
    sys.exit(main())
