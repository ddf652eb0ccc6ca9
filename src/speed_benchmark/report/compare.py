"""Two sets of records beside each other: ratios of their speeds, and verdicts that only an interval can give.

The ratio of a cell is exp(mean log speed after - mean log speed before), so that twice as fast and half as fast
are equally far from 1. Its interval is Welch's: t on the difference of two means of unlike variance, with the
degrees of freedom of Satterthwaite. The values are the means of the processes where a side ran several, because
repeats in one process share what it happened to get; the repeats of a single process else. There is no interval
where `statistics` would give none to one side alone: too few values, or values that depend on each other.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Literal

from scipy.special import stdtrit

from speed_benchmark.cell import INTERVAL_REPEATS, canonical_json
from speed_benchmark.judge.statistics import (
    CONFIDENCE,
    INTERVAL_PROCESSES,
    dependent,
    generation_tokens_per_s,
    total_tokens_per_s,
    whole_requests,
)
from speed_benchmark.record.record import Outcome, Record, Verdict

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
    """A ratio of speeds, after / before, and its 95 % confidence interval, None where none would be honest."""

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
    """All cells that both sides have, the ratio over all that have an interval, and what only one side has."""

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
    decided = [cell for cell in cells if cell.ratio and cell.ratio.low is not None]
    pairs = [(_log_speeds(cell.before, speed), _log_speeds(cell.after, speed)) for cell in decided]
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
    unlike = [text for name, text in _unlike(old + new) if name not in across]
    if unlike:
        return Comparison(*shown, None, Change.NOT_COMPARED, "; ".join(unlike))
    sides = _log_speeds(old, speed), _log_speeds(new, speed)
    ratio = _ratio([sides])
    reasons = [text for side in sides if (text := _no_interval(side))][:1]
    if any(record.verdict is Verdict.DOUBTFUL for record in old + new):
        reasons.append("doubtful records")
    return Comparison(*shown, ratio, ratio.change, "; ".join(reasons))


def _usable(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.outcome is Outcome.OK and record.verdict is not Verdict.INVALID]


def _unlike(records: Sequence[Record]) -> Iterable[tuple[Unlike, str]]:
    """In what the machines or the protocols of `records` differ."""
    machines = {
        "GPUs": [", ".join(gpu.name for gpu in record.machine.gpus) for record in records],
        "GPU power limits": [str([gpu.power_limit_w for gpu in record.machine.gpus]) for record in records],
        "drivers": [record.machine.driver or "none" for record in records],
        "processors": [f"{record.machine.processor}, {record.machine.cores} cores" for record in records],
    }
    protocols = {
        "warm-ups": [str(record.cell.protocol.warmups) for record in records],
        "methods": ["predicted" if record.cell.protocol.quick else "measured in full" for record in records],
        "prompts": [record.prompt or "unknown" for record in records],
    }
    kinds: tuple[tuple[Unlike, dict[str, list[str]]], ...] = (("machine", machines), ("protocol", protocols))
    for kind, described in kinds:
        for name, seen in described.items():
            distinct = list(dict.fromkeys(seen))
            if len(distinct) > 1:
                yield kind, f"unlike {name}: {' / '.join(distinct)}"


@dataclass(frozen=True)
class _Side:
    """Logarithms of speeds that may count as independent, and whether each is of a process."""

    values: tuple[float, ...]
    of_processes: bool


def _log_speeds(records: Sequence[Record], speed: Speed) -> _Side:
    """The means of the processes of `records` where there are several, the repeats of the only one else."""
    processes: dict[tuple[str, int], list[float]] = defaultdict(list)
    for record in records:
        for request in whole_requests(record.samples, record.cell):
            processes[record.record_id, request.process].append(math.log(_MEASURES[speed](request)))
    if len(processes) > 1:
        return _Side(tuple(map(statistics.fmean, processes.values())), of_processes=True)
    return _Side(tuple(next(iter(processes.values()))), of_processes=False)


def _no_interval(side: _Side) -> str:
    """Why no interval over the values of `side` would be honest; empty where one is."""
    needed = INTERVAL_PROCESSES if side.of_processes else INTERVAL_REPEATS
    what = "processes" if side.of_processes else "repeats"
    if len(side.values) < needed:
        return f"no verdict from {len(side.values)} {what}: {needed} are needed on each side"
    if len(side.values) >= INTERVAL_REPEATS and dependent(side.values):
        return f"no verdict: the {what} depend on each other"
    return ""


def _ratio(pairs: Sequence[tuple[_Side, _Side]]) -> Ratio:
    """The ratio over `pairs` of sides (before, after), each cell with equal weight, and Welch's interval.

    The variance of the mean of k differences is the sum of all s²/n over k²; degrees of freedom by Satterthwaite.
    Speeds without any spread have an interval without any width.
    """
    log_ratio = statistics.fmean(statistics.fmean(new.values) - statistics.fmean(old.values) for old, new in pairs)
    sides = [side for pair in pairs for side in pair]
    if any(_no_interval(side) for side in sides):
        return Ratio(math.exp(log_ratio), None, None)
    parts = [
        (statistics.variance(side.values) / len(side.values) / len(pairs) ** 2, len(side.values) - 1) for side in sides
    ]
    variance = math.fsum(part for part, _ in parts)
    half = 0.0
    if variance > 0:
        degrees = variance**2 / math.fsum(part**2 / free for part, free in parts)
        half = float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Ratio(math.exp(log_ratio), math.exp(log_ratio - half), math.exp(log_ratio + half))
