"""Two sets of records beside each other: ratios of their speeds, and verdicts that only an interval can give.

The ratio of a cell is exp(mean log speed after - mean log speed before), so that twice as fast and half as fast
are equally far from 1. Its interval is Welch's: t on the difference of two means of unlike variance, with the
degrees of freedom of Satterthwaite. The unit is the repeat; where both sides ran several processes of the cell, it
is the process, because its repeats share what is particular to it.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Literal

from speed_benchmark.cell import canonical_json
from speed_benchmark.results.record import Outcome, Record, Verdict
from speed_benchmark.results.statistics import generation_tokens_per_s, total_tokens_per_s

CONFIDENCE = 0.95
Speed = Literal["generation_tokens_per_s", "total_tokens_per_s"]
Unlike = Literal["machine", "protocol"]
_MEASURES = {"generation_tokens_per_s": generation_tokens_per_s, "total_tokens_per_s": total_tokens_per_s}


class Change(StrEnum):
    """What can be said about the later records of a cell, against the earlier ones."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "no difference"
    UNDECIDED = "undecided"
    BROKEN = "broken"
    FIXED = "fixed"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Ratio:
    """A ratio of speeds, after / before, and its 95 % confidence interval; no interval where there is one repeat."""

    value: float
    low: float | None
    high: float | None

    @property
    def change(self) -> Change:
        """What the interval says, and nothing without one."""
        if self.low is None or self.high is None:
            return Change.UNDECIDED
        if self.low > 1:
            return Change.FASTER
        return Change.SLOWER if self.high < 1 else Change.SAME


@dataclass(frozen=True)
class Comparison:
    """One cell on both sides, why it can't be compared where it can't, and what to keep in mind where it can."""

    before: tuple[Record, ...]
    after: tuple[Record, ...]
    ratio: Ratio | None
    change: Change
    reason: str = ""

    def regressed(self, max_regression: float) -> bool:
        """Whether it no longer runs, or is slower by more than `max_regression` (0.03: 3 %) even at the best.

        At the best: the whole interval lies below 1 - max_regression.
        """
        if self.change is Change.BROKEN:
            return True
        return self.ratio is not None and self.ratio.high is not None and self.ratio.high < 1 - max_regression


@dataclass(frozen=True)
class Comparisons:
    """All cells that both sides have, the ratio over all that could be compared, and what only one side has."""

    cells: tuple[Comparison, ...]
    overall: Ratio | None
    only_before: tuple[Record, ...]
    only_after: tuple[Record, ...]


def compare(
    before: Iterable[Record],
    after: Iterable[Record],
    speed: Speed = "generation_tokens_per_s",
    across: frozenset[Unlike] = frozenset(),
) -> Comparisons:
    """Compare what `before` and `after` have in common: the same model, workload and settings.

    Cells of unlike machines or protocols are listed, but not compared unless `across` names the difference.
    """
    old, new = _by_cell(before), _by_cell(after)
    common = [key for key in old if key in new]
    cells = tuple(_compare_cell(old[key], new[key], speed, across) for key in common)
    pairs = [_logs(cell, speed) for cell in cells if cell.ratio]
    return Comparisons(
        cells=cells,
        overall=_ratio(pairs) if pairs else None,
        only_before=tuple(records[0] for key, records in old.items() if key not in new),
        only_after=tuple(records[0] for key, records in new.items() if key not in old),
    )


def _by_cell(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records of the same model, workload and settings together."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        content = asdict(record.cell)
        content.pop("protocol")
        found[canonical_json(content)].append(record)
    return found


def _compare_cell(
    before: Sequence[Record], after: Sequence[Record], speed: Speed, across: frozenset[Unlike]
) -> Comparison:
    old, new = _usable(before), _usable(after)
    shown = (tuple(old or before), tuple(new or after))
    if not old or not new:
        if not old and not new:
            return Comparison(*shown, None, Change.NOT_COMPARED, f"{before[-1].outcome} on both sides")
        change = Change.BROKEN if old else Change.FIXED
        return Comparison(*shown, None, change, f"{before[-1].outcome} -> {after[-1].outcome}")
    reasons = [text for name, text in _unlike(old + new) if name not in across]
    if reasons:
        return Comparison(*shown, None, Change.NOT_COMPARED, "; ".join(reasons))
    pair = _logs(Comparison(*shown, None, Change.UNDECIDED), speed)
    ratio = _ratio([pair])
    doubtful = any(record.verdict is Verdict.DOUBTFUL for record in old + new)
    return Comparison(*shown, ratio, ratio.change, "doubtful records" if doubtful else "")


def _usable(records: Sequence[Record]) -> list[Record]:
    """The valid ones, measured in full: windows of a quick measurement are no repeats."""
    return [
        record
        for record in records
        if record.outcome is Outcome.OK
        and record.verdict is not Verdict.INVALID
        and not any(sample.window for sample in record.samples)
    ]


def _unlike(records: Sequence[Record]) -> Iterable[tuple[Unlike, str]]:
    """In what the machines or the protocols of `records` differ."""
    machines = {
        "GPUs": [", ".join(gpu.name for gpu in record.machine.gpus) for record in records],
        "GPU power limits": [str([gpu.power_limit_w for gpu in record.machine.gpus]) for record in records],
        "drivers": [record.machine.driver or "none" for record in records],
        "processors": [f"{record.machine.processor}, {record.machine.cores} cores" for record in records],
    }
    for name, seen in machines.items():
        distinct = list(dict.fromkeys(seen))
        if len(distinct) > 1:
            yield "machine", f"unlike {name}: {' / '.join(distinct)}"
    warmups = list(dict.fromkeys(record.cell.protocol.warmups for record in records))
    if len(warmups) > 1:
        yield "protocol", f"unlike protocols: {' / '.join(map(str, warmups))} warm-ups"
    prompts = list(dict.fromkeys(record.prompt or "unknown" for record in records))
    if len(prompts) > 1:
        yield "protocol", f"unlike prompts: {' / '.join(prompts)}"


def _logs(cell: Comparison, speed: Speed) -> tuple[list[float], list[float]]:
    """Logarithms of the speeds before and after: of each process where both sides have several, else of each repeat."""

    def by_process(records: Sequence[Record]) -> list[list[float]]:
        found: dict[tuple[str, int], list[float]] = defaultdict(list)
        for record in records:
            for sample in record.samples:
                found[record.record_id, sample.process].append(math.log(_MEASURES[speed](sample)))
        return list(found.values())

    old, new = by_process(cell.before), by_process(cell.after)
    if min(len(old), len(new)) > 1:
        return [statistics.fmean(repeats) for repeats in old], [statistics.fmean(repeats) for repeats in new]
    return [value for repeats in old for value in repeats], [value for repeats in new for value in repeats]


def _ratio(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Ratio:
    """The ratio over `pairs` of log speeds (before, after), each cell with equal weight, and Welch's interval.

    The variance of the mean of k differences is the sum of all s²/n over k²; degrees of freedom by Satterthwaite.
    Speeds without any spread have an interval without any width.
    """
    log_ratio = statistics.fmean(statistics.fmean(new) - statistics.fmean(old) for old, new in pairs)
    sides = [side for pair in pairs for side in pair]
    if any(len(side) < 2 for side in sides):
        return Ratio(math.exp(log_ratio), None, None)
    parts = [(statistics.variance(side) / len(side) / len(pairs) ** 2, len(side) - 1) for side in sides]
    variance = math.fsum(part for part, _ in parts)
    if variance == 0:
        return Ratio(math.exp(log_ratio), math.exp(log_ratio), math.exp(log_ratio))
    from scipy import stats

    degrees = variance**2 / math.fsum(part**2 / free for part, free in parts)
    low, high = stats.t.interval(CONFIDENCE, degrees, loc=log_ratio, scale=math.sqrt(variance))
    return Ratio(math.exp(log_ratio), math.exp(low), math.exp(high))
