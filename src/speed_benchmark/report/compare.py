"""Two sets of records beside each other: ratios of their speeds, and verdicts that only an interval can give.

The ratio of a cell is exp(mean log speed after - mean log speed before), so that twice as fast and half as fast
are equally far from 1. Its interval is Welch's: t on the difference of two means of unlike variance, with the
degrees of freedom of Satterthwaite. The values are the means of the processes where a side ran several, because
repeats in one process share what it happened to get; the repeats of a single process else. There is no interval
where `statistics` would give none to one side alone: too few values, or values that depend on each other. A change is
told only where the whole interval lies beyond the least effect that matters and that the clock can tell; that there is
none only where the whole interval lies within it. Where nothing is decided it is said how the values themselves lie.

Of each side those records of a cell are compared that are alike in everything; the others are left out, and named.
Another host of the same kind is compared and named. One of another pace is unlike where the host sets the pace of
a cell, and is named too where the device does.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Literal, get_args

from scipy.special import stdtrit

from speed_benchmark.cell import INTERVAL_REPEATS, Cell, digest
from speed_benchmark.judge.judgement import Judged, Verdict
from speed_benchmark.judge.moments import moments
from speed_benchmark.judge.statistics import (
    CONFIDENCE,
    INTERVAL_PROCESSES,
    RESOLUTION,
    dependent,
    generation_tokens_per_s,
    total_tokens_per_s,
    whole_requests,
)
from speed_benchmark.machine.describe import cards, other_host
from speed_benchmark.record.machine import Machine, Pace, pace_ratios
from speed_benchmark.record.outcome import LASTING
from speed_benchmark.record.record import Record
from speed_benchmark.report.rows import Row, row
from speed_benchmark.report.words import Language, SpeedField, Words, words

# What two records can differ in, and still be compared if that is asked for.
Unlike = Literal["machine", "protocol"]
# `work`: what was to be computed, which is never compared across; `means`: what it was computed with, which is named.
Trait = Literal["machine", "protocol", "work", "means"]
_TRAITS: tuple[Trait, ...] = get_args(Trait)
_MEASURES = {"generation_tokens_per_s": generation_tokens_per_s, "total_tokens_per_s": total_tokens_per_s}
# A change below this matters to nobody, however sure it is, where nothing else is asked for. Half as much would seldom
# be known: the cells that a device paces are known to some 0.3 %, those that a host paces to 1 % at best.
LEAST_EFFECT = 0.01
# Hosts whose paces differ by more are unlike.
UNLIKE_PACE = 0.05
_PACED_BY_DEVICE = ("memory", "compute", "device")
# Two readings of a clock tell times apart from this on.
_CLOCK_S = 1e-6


class Change(StrEnum):
    """What can be said about the later records of a cell, against the earlier ones."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "no_difference"
    UNDECIDED = "undecided"
    BROKEN = "broken"
    FIXED = "fixed"
    NOT_COMPARED = "not_compared"


@dataclass(frozen=True)
class Reason:
    """Why there is no verdict, or what to keep in mind: the code of a text, and the values that stand in it.

    A value that is the id of a text is said as that text.
    """

    code: str
    values: "Mapping[str, str | int | tuple[str, ...] | Reason]"

    def text(self, said: Words) -> str:
        """The reason in the language of `said`."""
        return said[f"reason.{self.code}"].format(**{name: _told(one, said) for name, one in self.values.items()})


@dataclass(frozen=True)
class Measured:
    """What a comparison keeps of a record: its row, the speeds of its requests by process, and what must be alike.

    `cell` is the same for all that is the same model, workload and settings as `asked`. `moments` are those of its
    requests, by which a measurement that is stored twice is known; `request_s` is the mean of their times.
    """

    row: Row
    cell: str
    asked: Cell
    gpus: tuple[int, ...]
    machine: Machine
    host_paces: tuple[Pace, ...]
    request_s: float
    speeds: Mapping[int, tuple[float, ...]]
    shortest_s: float
    traits: Mapping[Trait, Mapping[str, str]]
    moments: frozenset[str]


@dataclass(frozen=True)
class Ratio:
    """A ratio of speeds, after / before, and its 95 % confidence interval, None where none would be honest.

    `least` is the smallest effect that is told.
    """

    value: float
    low: float | None
    high: float | None
    least: float = LEAST_EFFECT

    @property
    def change(self) -> Change:
        """What the interval says where it lies wholly beyond the least effect, or wholly within it."""
        if self.low is None or self.high is None:
            return Change.UNDECIDED
        if self.low > 1 + self.least:
            return Change.FASTER
        if self.high < 1 - self.least:
            return Change.SLOWER
        return Change.SAME if 1 - self.least <= self.low and self.high <= 1 + self.least else Change.UNDECIDED


@dataclass(frozen=True)
class Comparison:
    """One cell on both sides, why it can't be compared where it can't, and what to keep in mind where it can."""

    before: tuple[Measured, ...]
    after: tuple[Measured, ...]
    ratio: Ratio | None
    change: Change
    reasons: tuple[Reason, ...] = ()

    def is_decided(self, max_regression: float) -> bool:
        """Whether it can be told if it regressed: by an interval, or because one side has no speed by its nature.

        The interval lies wholly on one side of what is let pass. A cell that ran out of memory before and does so
        again is as it was; of one that crashed nothing is known.
        """
        if self.regressed(max_regression):
            return True
        if any(record.row.measured for record in self.before):
            low = self.ratio.low if self.ratio else None
            return low is not None and low >= self.limit(max_regression)
        before, after = self.before[-1].row, self.after[-1].row
        return before.outcome in LASTING and (after.measured or after.outcome == before.outcome)

    def regressed(self, max_regression: float) -> bool:
        """Whether it no longer runs, or is slower by more than `max_regression` (0.03: 3 %) even at the best.

        At the best: the whole interval lies below 1 - max_regression.
        """
        if self.change is Change.BROKEN:
            return True
        if self.ratio is None or self.ratio.high is None:
            return False
        return self.ratio.high < self.limit(max_regression)

    def limit(self, max_regression: float) -> float:
        """The ratio below which it regressed."""
        return 1 - max(max_regression, self.ratio.least if self.ratio else 0)


@dataclass(frozen=True)
class Comparisons:
    """All cells that both sides have, the ratio over all that have an interval, and what only one side has.

    `threshold` is the least effect that was asked for.
    """

    cells: tuple[Comparison, ...]
    overall: Ratio | None
    only_before: tuple[Measured, ...]
    only_after: tuple[Measured, ...]
    threshold: float


def measured(judged: Judged, speed: SpeedField = "generation_tokens_per_s", language: Language = "en") -> Measured:
    """What a comparison by `speed` keeps of a record."""
    record, shown, said = judged.record, row(judged, "", language), words(language)
    requests = whole_requests(record.samples, record.cell) if shown.measured else []
    speeds: dict[int, list[float]] = defaultdict(list)
    for request in requests:
        speeds[request.process].append(_MEASURES[speed](request))
    return Measured(
        row=shown,
        cell=_cell_key(record.cell),
        asked=record.cell,
        gpus=record.gpus,
        machine=record.machine,
        host_paces=record.host_paces,
        request_s=statistics.fmean(request.duration_s for request in requests) if requests else 0.0,
        speeds={process: tuple(values) for process, values in speeds.items()},
        shortest_s=min((request.duration_s for request in requests), default=math.inf),
        traits={
            "machine": _machine_traits(record.machine, said),
            "protocol": _protocol_traits(record),
            "work": _work_traits(record, shown),
            "means": _means_traits(shown),
        },
        moments=moments(record),
    )


def compare(
    before: Iterable[Measured],
    after: Iterable[Measured],
    across: frozenset[Unlike] = frozenset(),
    threshold: float = LEAST_EFFECT,
) -> Comparisons:
    """Compare what `before` and `after` have in common: the same model, workload and settings.

    Cells of unlike machines, protocols or work are listed, but not compared unless `across` names the difference. A
    change below `threshold` (0.01: 1 %) is none.
    """
    old, new = _by_cell(before), _by_cell(after)
    cells = tuple(_compare_cell(old[key], new[key], across, threshold) for key in old if key in new)
    decided = [cell for cell in cells if cell.ratio and cell.ratio.low is not None]
    pairs = [(_log_speeds(cell.before), _log_speeds(cell.after)) for cell in decided]
    return Comparisons(
        cells=cells,
        overall=_ratio(pairs, max(cell.ratio.least for cell in decided if cell.ratio)) if pairs else None,
        only_before=tuple(records[0] for key, records in old.items() if key not in new),
        only_after=tuple(records[0] for key, records in new.items() if key not in old),
        threshold=threshold,
    )


def _told(value: str | int | tuple[str, ...] | Reason, said: Words) -> str:
    if isinstance(value, Reason):
        return value.text(said)
    if isinstance(value, tuple):
        return " / ".join(_told(one, said) for one in value)
    return said.get(str(value), str(value))


def _cell_key(cell: Cell) -> str:
    """The same for cells of the same model, workload and settings."""
    content = asdict(cell)
    content.pop("protocol")
    return digest(content)


def _machine_traits(machine: Machine, said: Words) -> dict[str, str]:
    return {
        "unlike_gpus": ", ".join(gpu.name for gpu in machine.gpus) or "none",
        "unlike_power_limits": ", ".join(f"{gpu.power_limit_w or 0:g} W" for gpu in machine.gpus) or "none",
        "unlike_drivers": machine.driver or "none",
        "unlike_processors": said["processor"].format(processor=machine.processor, cores=machine.cores),
    }


def _protocol_traits(record: Record) -> dict[str, str]:
    protocol = record.cell.protocol
    return {
        "unlike_warmups": str(protocol.warmups),
        "unlike_methods": "method.quick" if protocol.quick else "method.whole",
        "unlike_prompts": f"prompt.{record.prompt}" if record.prompt else "unknown",
    }


def _work_traits(record: Record, shown: Row) -> dict[str, str]:
    loaded, checkpoint = record.loaded, record.checkpoint
    return {
        "unlike_weights": (checkpoint and checkpoint.weights_digest) or "unknown",
        "unlike_formats": shown.quantization or "unknown",
        "unlike_types": shown.dtype or "unknown",
        "unlike_cache_types": (loaded and loaded.kv_cache_dtype) or "unknown",
        "unlike_sampling": shown.sampling,
    }


def _means_traits(shown: Row) -> dict[str, str]:
    return {
        "unlike_versions": shown.software or "unknown",
        "unlike_attention": shown.attention_implementation or "unknown",
        "unlike_kernels": ", ".join(shown.quantization_kernels) or "none",
        "unlike_execution": shown.execution or "unknown",
    }


def _by_cell(records: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Records of the same model, workload and settings together, the older first."""
    found: dict[str, list[Measured]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.row.created_at, record.row.record_id)):
        found[record.cell].append(record)
    return found


def _compare_cell(
    before: Sequence[Measured], after: Sequence[Measured], across: frozenset[Unlike], threshold: float
) -> Comparison:
    old, new = _usable(before), _usable(after)
    if not old or not new:
        change = Change.BROKEN if old else Change.FIXED if new else Change.NOT_COMPARED
        ended = _ended(before[-1].row, after[-1].row)
        return Comparison(tuple(old or before), tuple(new or after), None, change, (ended,))
    old_groups, new_groups = _groups(old, across), _groups(new, across)
    pairs = [(one, other) for other in new_groups for one in old_groups if not any(_hindrances(one, other, across))]
    old, new = min(pairs, key=_is_of_other_hosts, default=(old_groups[0], new_groups[0]))
    left_out = (*_left_out("left_out_before", before, old, across), *_left_out("left_out_after", after, new, across))
    device_times = _device_times(old[-1], new[-1])
    if unlike := tuple(_hindrances(old, new, across)):
        reasons = [*unlike, *device_times, *left_out]
        return Comparison(tuple(old), tuple(new), None, Change.NOT_COMPARED, tuple(reasons))
    sides = _log_speeds(old), _log_speeds(new)
    ratio = _ratio([sides], _least(old + new, threshold))
    reasons = [reason for side in sides if (reason := _no_interval(side))][:1]
    if ratio.change is Change.UNDECIDED:
        reasons += _order(*sides, sure=ratio.low is not None)
    if any(record.row.verdict == Verdict.DOUBTFUL for record in old + new):
        reasons.append(Reason("doubtful", {}))
    if any(one.moments & other.moments for one in old for other in new):
        reasons.append(Reason("same_measurement", {}))
    reasons += [*_unlike(old[-1], new[-1], ["means"]), *_other_cards(old[-1].machine, new[-1].machine)]
    if _is_paced_by_device(old[-1], new[-1]):
        reasons += _unlike_pace(old[-1], new[-1], "unlike_pace_of_device")
    reasons += [*device_times, *left_out]
    return Comparison(tuple(old), tuple(new), ratio, ratio.change, tuple(reasons))


def _groups(records: Sequence[Measured], across: frozenset[Unlike]) -> list[list[Measured]]:
    """The records that are alike, each measurement once; the group of the newest record first, its older ones first."""
    groups: list[list[Measured]] = []
    taken: set[str] = set()
    for record in reversed(records):
        if taken & record.moments:
            continue
        taken |= record.moments
        same = next((group for group in groups if not any(_unlike(group[0], record, _all_but(across)))), None)
        if same is None:
            groups.append([record])
        else:
            same.insert(0, record)
    return groups


def _hindrances(old: Sequence[Measured], new: Sequence[Measured], across: frozenset[Unlike]) -> Iterator[Reason]:
    """In what two groups differ that must be alike to be compared."""
    return _unlike(old[-1], new[-1], [kind for kind in _all_but(across) if kind != "means"])


def _left_out(
    code: str, records: Sequence[Measured], group: Sequence[Measured], across: frozenset[Unlike]
) -> Iterator[Reason]:
    """Which of the `records` of a side are not in the group that is compared, and why."""
    compared = {record.row.record_id for record in group}
    others = [record for record in records if record.row.record_id not in compared]
    why = [_why_left_out(record, group[-1], across) for record in others]
    for number, reason in enumerate(why):
        if reason not in why[:number]:
            yield Reason(code, {"count": why.count(reason), "why": reason})


def _why_left_out(record: Measured, compared: Measured, across: frozenset[Unlike]) -> Reason:
    if not record.row.measured:
        return Reason("ended", {"outcome": _outcome(record.row)})
    return next(_unlike(compared, record, _all_but(across)), Reason("stored_twice", {}))


def _all_but(across: frozenset[Unlike]) -> list[Trait]:
    return [kind for kind in _TRAITS if kind not in across]


def _usable(records: Sequence[Measured]) -> list[Measured]:
    return [record for record in records if record.row.measured]


def _ended(before: Row, after: Row) -> Reason:
    """How the last records of both sides ended."""
    outcomes = _outcome(before), _outcome(after)
    if outcomes[0] == outcomes[1]:
        return Reason("same_outcome", {"outcome": outcomes[0]})
    return Reason("other_outcome", {"before": outcomes[0], "after": outcomes[1]})


def _outcome(row: Row) -> str:
    """The id of the text that says how a record ended."""
    return "verdict.invalid" if row.outcome == "ok" and not row.measured else f"outcome.{row.outcome}"


def _unlike(one: Measured, other: Measured, kinds: Sequence[Trait]) -> Iterator[Reason]:
    """In what two records differ."""
    for kind in kinds:
        for code, value in one.traits[kind].items():
            if value != other.traits[kind][code]:
                yield Reason(code, {"values": (value, other.traits[kind][code])})
    if "machine" in kinds and not _is_paced_by_device(one, other):
        yield from _unlike_pace(one, other, "unlike_pace")
    if "means" in kinds:
        yield from _other_host(one.machine, other.machine)


def _is_paced_by_device(one: Measured, other: Measured) -> bool:
    return all(record.row.bound_by in _PACED_BY_DEVICE for record in (one, other))


def _unlike_pace(one: Measured, other: Measured, code: str) -> Iterator[Reason]:
    """Whether the hosts went at unlike paces, and what shows it most."""
    part, ratio = max(pace_ratios(one.host_paces, other.host_paces).items(), key=itemgetter(1), default=("", 1.0))
    if ratio > 1 + UNLIKE_PACE:
        yield Reason(code, {"part": f"pace.{part}", "times": f"{ratio:.2f}"})


def _other_host(one: Machine, other: Machine) -> Iterator[Reason]:
    """Whether they are two hosts of one kind, or nobody knows."""
    if other_host(one, other) is not None:
        yield Reason("other_host", {})
    elif _is_known(one) != _is_known(other):
        yield Reason("unknown_host", {})


def _device_times(one: Measured, other: Measured) -> Iterator[Reason]:
    """What a token takes of the GPUs on each of two hosts, which says whether they differ in more than their pace."""
    times_s = one.row.device_s_per_token, other.row.device_s_per_token
    gpus = [[gpu.name for gpu in record.machine.gpus] for record in (one, other)]
    if all(times_s) and gpus[0] == gpus[1] and other_host(one.machine, other.machine) is not None:
        before_ms, after_ms = (1e3 * (time_s or 0) for time_s in times_s)
        values = {
            "before": f"{before_ms:.3f}",
            "after": f"{after_ms:.3f}",
            "change": f"{after_ms / before_ms - 1:+.1%}",
        }
        yield Reason("device_times", values)


def _other_cards(one: Machine, other: Machine) -> Iterator[Reason]:
    """Whether they are other cards of one host: two of one kind may differ by some percent."""
    if cards(one) and cards(other) and cards(one) != cards(other) and other_host(one, other) is None:
        yield Reason("other_cards", {})


def _is_known(machine: Machine) -> bool:
    return bool(machine.host_id or machine.boot_id or cards(machine))


def _is_of_other_hosts(pair: tuple[Sequence[Measured], Sequence[Measured]]) -> bool:
    old, new = pair
    return any(_other_host(old[-1].machine, new[-1].machine))


def _least(records: Sequence[Measured], threshold: float) -> float:
    """The smallest effect that is told of `records`: the threshold, beyond rounding and what the clock can tell."""
    shortest_s = min(record.shortest_s for record in records)
    return max(threshold, RESOLUTION, _CLOCK_S / shortest_s)


@dataclass(frozen=True)
class _Side:
    """Logarithms of speeds that may count as independent, and whether each is of a process."""

    values: tuple[float, ...]
    of_processes: bool


def _log_speeds(records: Sequence[Measured]) -> _Side:
    """The means of the processes of `records` where there are several, the repeats of the only one else."""
    processes = [list(map(math.log, speeds)) for record in records for speeds in record.speeds.values()]
    if len(processes) > 1:
        return _Side(tuple(map(statistics.fmean, processes)), of_processes=True)
    return _Side(tuple(processes[0]), of_processes=False)


def _no_interval(side: _Side) -> Reason | None:
    """Why no interval over the values of `side` would be honest; None where one is."""
    needed = INTERVAL_PROCESSES if side.of_processes else INTERVAL_REPEATS
    what = "processes" if side.of_processes else "repeats"
    if len(side.values) < needed:
        return Reason(f"few_{what}", {"count": len(side.values), "needed": needed})
    return Reason(f"dependent_{what}", {}) if dependent(side.values) else None


def _order(old: _Side, new: _Side, *, sure: bool) -> Iterator[Reason]:
    """What the order of the values says where nothing is decided; of values that overlap nothing beside an interval.

    The chance is that of a permutation: if nothing had changed, each of the (n + m over n) ways to lay the values of
    both sides in one order would be as likely. It is not told of values that depend on each other.
    """
    lowest, highest = math.exp(min(new.values) - max(old.values)), math.exp(max(new.values) - min(old.values))
    what = "processes" if old.of_processes and new.of_processes else "repeats"
    values: dict[str, str | int] = {"low": f"{lowest:.2f}", "high": f"{highest:.2f}"}
    apart = "above" if lowest > 1 else "below" if highest < 1 else None
    if apart is None:
        if not sure:
            yield Reason("overlap", {"all": f"all.{what}", **values})
        return
    ratio = math.exp(statistics.fmean(new.values) - statistics.fmean(old.values))
    values |= {"each": f"each.{what}", "ratio": f"{ratio:.2f}"}
    if dependent(old.values) or dependent(new.values):
        yield Reason(f"{apart}_dependent", values)
    else:
        yield Reason(apart, values | {"times": math.comb(len(old.values) + len(new.values), len(old.values))})


def _ratio(pairs: Sequence[tuple[_Side, _Side]], least: float) -> Ratio:
    """The ratio over `pairs` of sides (before, after), each cell with equal weight, and Welch's interval.

    The variance of the mean of k differences is the sum of all s²/n over k²; degrees of freedom by Satterthwaite.
    Speeds without any spread have an interval without any width.
    """
    log_ratio = statistics.fmean(statistics.fmean(new.values) - statistics.fmean(old.values) for old, new in pairs)
    sides = [side for pair in pairs for side in pair]
    if any(_no_interval(side) for side in sides):
        return Ratio(math.exp(log_ratio), None, None, least)
    parts = [
        (statistics.variance(side.values) / len(side.values) / len(pairs) ** 2, len(side.values) - 1) for side in sides
    ]
    variance = math.fsum(part for part, _ in parts)
    half = 0.0
    if variance > 0:
        degrees = variance**2 / math.fsum(part**2 / free for part, free in parts)
        half = float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Ratio(math.exp(log_ratio), math.exp(log_ratio - half), math.exp(log_ratio + half), least)
