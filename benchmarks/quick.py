"""What `--quick` predicts beside what a full measurement shows, both on one loaded engine.

Prints, for each round, the predicted and the measured speed with their intervals, the error of the prediction, and
the share of the full measurement's device time that the prediction took: of all requests but the first one of either,
which in whatever was measured first has compiling in it (vLLM's is part of the load) and the planning of new lengths.
Exits 1 where the error of the mean over the rounds is above 2 %, or the share above a fifth. A host
that binds a cell may change its pace between the two: such a prediction is `doubtful`, and one round says little.

usage: quick.py ENGINE [--model ID] [--context N] [--generate N] [--repeats N] [--rounds N] [--out DIR] [flags of `run`]
       quick.py --judge DIR     # what is there already: each prediction beside the full records of the same workload
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from speed_benchmark.judge.judge import judge as judge_record
from speed_benchmark.judge.judgement import Judgement, Quantity
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store

LARGEST_ERROR, LARGEST_SHARE = 0.02, 0.2


def device_s(record: Record) -> float:
    """Seconds of all requests of a record but the first one."""
    return sum(sample.duration_s for sample in (*record.warmups[1:], *record.samples))


def speed(judgement: Judgement) -> Quantity:
    """The speed that was measured or predicted."""
    assert judgement.summary is not None
    return judgement.summary.generation_tokens_per_s


def shown(speed: Quantity) -> str:
    """A speed with its interval."""
    half = f" ± {(speed.interval.high - speed.interval.low) / 2:.2f}" if speed.interval else ", no interval"
    return f"{speed.mean:.2f}{half}"


def measure(asked: argparse.Namespace, more: list[str], out: Path) -> None:
    """Both ways in one load, `asked.rounds` times, in turn one and the other first."""
    suite = out / "quick.toml"
    out.mkdir(parents=True, exist_ok=True)
    full, quick = f"[[grid]]\nrepeats = {asked.repeats}\n", "[[grid]]\nquick = true\nrepeats = 6\n"
    for number in range(asked.rounds):
        suite.write_text(full + quick if number % 2 else quick + full)
        subprocess.run(
            [
                *(sys.executable, "-m", "speed_benchmark", "run", str(suite), "--engine", asked.engine),
                *("--model_id_or_path", asked.model, "--weights", "synthetic", "--retry", "all"),
                *("--context_length", str(asked.context), "--generate_length", str(asked.generate)),
                *("--outputs_dir", str(out), *(flag for flag in more if flag != "--")),
            ],
            stdout=subprocess.DEVNULL,
            check=True,
        )
    suite.unlink()


def pairs(out: Path) -> Iterator[tuple[Record, Record]]:
    """Each prediction in `out` with the full record of the same settings that was made nearest to it."""
    found = [record for _, record in Store(out).records() if isinstance(record, Record) and record.samples]
    for predicted in sorted(found, key=lambda record: record.created_at):
        if not predicted.cell.protocol.quick:
            continue
        cell, moment = predicted.cell, datetime.fromisoformat(predicted.created_at)
        full = [
            record
            for record in found
            if not record.cell.protocol.quick
            and (record.cell.model, record.cell.workload, record.cell.settings)
            == (cell.model, cell.workload, cell.settings)
        ]
        yield predicted, min(full, key=lambda record: abs(datetime.fromisoformat(record.created_at) - moment))


def judge(out: Path) -> bool:
    """Print each pair and, for each engine and length, whether the predictions are good."""
    rounds: dict[str, list[tuple[float, float, float]]] = {}
    for predicted, measured in pairs(out):
        judgement = judge_record(predicted)
        one, other = speed(judgement), speed(judge_record(measured))
        share = device_s(predicted) / device_s(measured)
        cell = predicted.cell
        compiled = ", compiled" if cell.settings.options.get("compile") else ""
        model = cell.model.model_id_or_path
        name = f"{cell.settings.engine}{compiled}, {model}, input {cell.workload.context_length}"
        rounds.setdefault(name, []).append((one.mean, other.mean, share))
        print(
            f"{name}, round {len(rounds[name])}: predicted {shown(one)}, measured {shown(other)} tokens/s, "
            f"error {one.mean / other.mean - 1:+.2%}, share of the device time {share:.1%}; "
            f"the prediction is {judgement.verdict}"
        )
    all_good = bool(rounds)
    for name, values in rounds.items():
        predictions, measurements, shares = zip(*values, strict=True)
        error, share = statistics.fmean(predictions) / statistics.fmean(measurements) - 1, statistics.fmean(shares)
        good = abs(error) <= LARGEST_ERROR and share <= LARGEST_SHARE
        print(f"{name}: error {error:+.2%}, share of the device time {share:.1%}: {'good' if good else 'too much'}")
        all_good = all_good and good
    return all_good


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", nargs="?")
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--generate", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked, more = parser.parse_known_args()
    if bool(asked.judge) == bool(asked.engine):
        parser.error("name an engine to measure, or --judge DIR")
    if asked.judge:
        return 0 if judge(asked.judge) else 1
    with tempfile.TemporaryDirectory() as folder:
        out = asked.out or Path(folder)
        measure(asked, more, out)
        return 0 if judge(out) else 1


if __name__ == "__main__":
    sys.exit(main())
