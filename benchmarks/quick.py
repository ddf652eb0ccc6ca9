"""What `--quick` predicts beside what a full measurement shows.

Measured: both on one loaded engine, in turn one and the other first. Prints, for each round, the predicted and the
measured speed with their intervals, whether the measured one lies in the predicted interval, the error of the
prediction, and the share of the full measurement's device time that the prediction took: of all requests but the first
one of either, which in whatever was measured first has compiling in it (vLLM's is part of the load) and the planning of
new lengths. Exits 1 where the error of the mean over the rounds is above 2 %, or the share above a fifth. A host that
binds a cell may change its pace between the two: such a prediction is `doubtful` and has no interval, and one round
says little.

Cut (`--cut`): of each full record, what `--quick` would have predicted from the first and the last 48 tokens of its
repeats. That takes no device and no time, so that many cells can be tested; but the windows are part of the very
requests that they are held against. They share their noise, and miss what a quick measurement has of its own: the
end's prefill, and another moment. It shows the error of the model alone (a straight line between two windows). The
model's error is fitted anew on the cells of each half and tested on the other.

usage: quick.py ENGINE [--model ID] [--context N] [--generate N] [--repeats N] [--rounds N] [--out DIR] [flags of `run`]
       quick.py --judge DIR...  # what is there already: each prediction beside the full records of the same workload
       quick.py --cut DIR...    # full records, with windows cut out of their repeats
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from scipy.special import stdtrit

from speed_benchmark.cell import QUICK_WINDOW_TOKENS
from speed_benchmark.judge.judge import judge as judge_record
from speed_benchmark.judge.judgement import Judgement, Quantity
from speed_benchmark.judge.quick import MODEL_ERROR
from speed_benchmark.judge.statistics import half_width
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample
from speed_benchmark.record.store import Store

LARGEST_ERROR, LARGEST_SHARE = 0.02, 0.2


def device_s(record: Record) -> float:
    """Seconds of all requests of a record but the first one."""
    return sum(sample.duration_s for sample in (*record.warmups[1:], *record.samples))


def speed(judgement: Judgement) -> Quantity:
    """The speed that was measured or predicted."""
    assert judgement.summary is not None
    return judgement.summary.generation_tokens_per_s


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


def stored(folders: Iterable[Path]) -> list[Record]:
    """The records in `folders` that have samples, the oldest first."""
    found = [record for folder in folders for _, record in Store(folder).records() if isinstance(record, Record)]
    return sorted((record for record in found if record.samples), key=lambda record: record.created_at)


def pairs(records: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Each prediction with the full record of the same settings that was made nearest to it."""
    for predicted in records:
        if not predicted.cell.protocol.quick:
            continue
        cell, moment = predicted.cell, datetime.fromisoformat(predicted.created_at)
        full = [
            record
            for record in records
            if not record.cell.protocol.quick
            and (record.cell.model, record.cell.workload, record.cell.settings)
            == (cell.model, cell.workload, cell.settings)
        ]
        if full:
            yield predicted, min(full, key=lambda record: abs(datetime.fromisoformat(record.created_at) - moment))


def cut(record: Record) -> Record:
    """What a quick measurement of the cell would have seen of the repeats of a full `record`."""
    windows = [window for sample in record.samples for window in (_start(sample), _end(sample))]
    cell = replace(record.cell, protocol=replace(record.cell.protocol, quick=True))
    return record.model_copy(update={"cell": cell, "samples": tuple(windows), "warmups": ()})


def _start(sample: Sample) -> Sample:
    """The first tokens of a request, and the time that passes after the last one of all."""
    kept = [one.token_times_s[:QUICK_WINDOW_TOKENS] for one in sample.sequences]
    return _window(sample, "start", kept, 0.0)


def _end(sample: Sample) -> Sample:
    """The last tokens of a request, after a prompt as long as all before them."""
    began_s = min(one.token_times_s[-QUICK_WINDOW_TOKENS - 1] for one in sample.sequences)
    return _window(sample, "end", [one.token_times_s[-QUICK_WINDOW_TOKENS:] for one in sample.sequences], began_s)


def _window(sample: Sample, name: str, kept: list[tuple[float, ...]], began_s: float) -> Sample:
    sequences = [
        one.model_copy(update={"token_times_s": tuple(time_s - began_s for time_s in times_s)})
        for one, times_s in zip(sample.sequences, kept, strict=True)
    ]
    ended_s = max(times_s[-1] for times_s in kept) - began_s + sample.duration_s - sample.last_token_s
    return sample.model_copy(update={"window": name, "sequences": tuple(sequences), "duration_s": ended_s})


@dataclass(frozen=True)
class Pair:
    """A prediction beside the truth: `half_width` is that of the prediction's interval over its mean, if it has one."""

    name: str
    cell_id: str
    predicted: float
    measured: float
    half_width: float | None

    @classmethod
    def of(cls, predicted: Record, measured: Record) -> "Pair":
        """The two records, judged."""
        one, other = speed(judge_record(predicted)), speed(judge_record(measured))
        return cls(named(predicted), measured.cell_id, one.mean, other.mean, half_width(one))

    @property
    def error(self) -> float:
        """By how much the prediction is off, relative to the truth."""
        return self.predicted / self.measured - 1

    @property
    def covered(self) -> bool:
        """Whether the truth lies in the interval, which must be there."""
        return self.half_width is not None and abs(self.measured - self.predicted) <= self.half_width * self.predicted

    def covered_with(self, model_error: float) -> bool:
        """The same with another error of the model than the rules have."""
        assert self.half_width is not None
        return replace(self, half_width=self.half_width - MODEL_ERROR + model_error).covered


def named(record: Record) -> str:
    """What tells a cell from the others, in one line."""
    cell = record.cell
    compiled = ", compiled" if cell.settings.options.get("compile") else ""
    batch = f" x {cell.workload.batch_size}" if cell.workload.batch_size > 1 else ""
    return (
        f"{cell.settings.engine}{compiled}, {cell.model.model_id_or_path}, input {cell.workload.context_length}{batch}"
    )


def told(pair: Pair) -> str:
    """A pair in words."""
    if pair.half_width is None:
        interval = "no interval"
    else:
        interval = f"± {pair.half_width * pair.predicted:.2f}, {'covered' if pair.covered else 'NOT covered'}"
    return f"predicted {pair.predicted:.2f}, measured {pair.measured:.2f} tokens/s, error {pair.error:+.2%}, {interval}"


def print_totals(pairs: Sequence[Pair]) -> None:
    """How many intervals cover, and how far the predictions without one are off."""
    known = [pair for pair in pairs if pair.half_width is not None]
    others = [abs(pair.error) for pair in pairs if pair.half_width is None]
    cells = len({pair.cell_id for pair in known})
    print(f"{len(known)} predictions of {cells} cells have an interval: {sum(pair.covered for pair in known)} covered")
    if known:
        errors = [pair.error for pair in known]
        print(f"  errors {min(errors):+.2%} to {max(errors):+.2%}, mean {statistics.fmean(errors):+.2%}")
    if others:
        print(f"{len(others)} have none: errors up to {max(others):.2%}, median {statistics.median(others):.2%}")


def print_halves(pairs: Sequence[Pair]) -> None:
    """The model's error by the cells of each half, and how many intervals with it cover in the other half."""
    known = [pair for pair in pairs if pair.half_width is not None]
    cells = sorted({pair.cell_id for pair in known})
    if len(cells) < 4:
        print("too few cells with an interval to fit the model's error on a half of them")
        return
    halves = [[pair for pair in known if pair.cell_id in chosen] for chosen in (cells[::2], cells[1::2])]
    for fitted, tested in (halves, halves[::-1]):
        error = model_error(fitted)
        covered = sum(pair.covered_with(error) for pair in tested)
        print(
            f"model error fitted on {len(fitted)}: ±{error:.2%}; with it {covered} of the other {len(tested)} covered"
        )
    print(f"model error on all: ±{model_error(known):.2%}; that of the rules: ±{MODEL_ERROR:.2%}")


def model_error(pairs: Sequence[Pair]) -> float:
    """Within which 95 % of the errors lie, if they are normal around 0: Student's t of as many cells as there are.

    The records of one cell count as one, by their mean error.
    """
    errors: dict[str, list[float]] = {}
    for pair in pairs:
        errors.setdefault(pair.cell_id, []).append(pair.error)
    squares = statistics.fmean(statistics.fmean(values) ** 2 for values in errors.values())
    return float(stdtrit(len(errors), 0.975) * squares**0.5)


def judge_cut(records: Sequence[Record]) -> bool:
    """Print what windows of the full `records` predict; whether all that have an interval are covered."""
    long_enough = 4 * QUICK_WINDOW_TOKENS
    full = [
        record
        for record in records
        if record.outcome is Outcome.OK
        and not record.cell.protocol.quick
        and record.cell.workload.generate_length >= long_enough
    ]
    found = [Pair.of(cut(record), record) for record in full]
    for record, pair in zip(full, found, strict=True):
        print(f"{pair.name}, {record.record_id[7:15]}: {told(pair)}")
    print_totals(found)
    print_halves(found)
    return bool(found) and all(pair.covered for pair in found if pair.half_width is not None)


def judge(records: Sequence[Record]) -> bool:
    """Print each pair and, for each engine and length, whether the predictions are good."""
    rounds: dict[str, list[tuple[Pair, float]]] = {}
    for predicted, measured in pairs(records):
        pair, share = Pair.of(predicted, measured), device_s(predicted) / device_s(measured)
        rounds.setdefault(pair.name, []).append((pair, share))
        print(
            f"{pair.name}, round {len(rounds[pair.name])}: {told(pair)}, share of the device time {share:.1%}; "
            f"the prediction is {judge_record(predicted).verdict}"
        )
    all_good = bool(rounds)
    for name, values in rounds.items():
        found, shares = zip(*values, strict=True)
        error = (
            statistics.fmean(pair.predicted for pair in found) / statistics.fmean(pair.measured for pair in found) - 1
        )
        share = statistics.fmean(shares)
        good = abs(error) <= LARGEST_ERROR and share <= LARGEST_SHARE
        print(f"{name}: error {error:+.2%}, share of the device time {share:.1%}: {'good' if good else 'too much'}")
        all_good = all_good and good
    print_totals([pair for values in rounds.values() for pair, _ in values])
    return all_good


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", nargs="?")
    parser.add_argument("--judge", type=Path, nargs="+", default=[])
    parser.add_argument("--cut", type=Path, nargs="+", default=[])
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--generate", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked, more = parser.parse_known_args()
    if sum(map(bool, (asked.engine, asked.judge, asked.cut))) != 1:
        parser.error("name an engine to measure, or --judge DIR, or --cut DIR")
    if asked.cut:
        return 0 if judge_cut(stored(asked.cut)) else 1
    if asked.judge:
        return 0 if judge(stored(asked.judge)) else 1
    with tempfile.TemporaryDirectory() as folder:
        out = asked.out or Path(folder)
        measure(asked, more, out)
        return 0 if judge(stored([out])) else 1


if __name__ == "__main__":
    sys.exit(main())
