"""The steps in a trace of a device: how long each took, what ran in it, and whom it waited for. Pure."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from speed_benchmark.record.record import NAME_CHARACTERS, NAMED_KERNELS, DeviceWindow, Kernel

# An engine in a process of its own is up to so many steps ahead of what is heard of it.
AHEAD = 4
# A median of fewer steps would be that of a disturbance.
FEWEST_STEPS = 4


class Activity(NamedTuple):
    """A kernel or a copy on the device; `launched_ns` is when the call that launched it began, None if not seen."""

    name: str
    start_ns: int
    end_ns: int
    launched_ns: int | None


@dataclass(frozen=True)
class _Idle:
    """Time in which nothing ran, up to `end_ns`; the device's own where its next work had been asked for before."""

    end_ns: int
    length_ns: int
    is_own: bool


def window(activities: Sequence[Activity], tokens: int) -> DeviceWindow:
    """The whole steps in the trace of about so many `tokens`, a step being one token of each sequence.

    A step lasts from one start of the anchor to the next. Raises ValueError where no steps can be told.
    """
    ordered = sorted(activities, key=lambda one: one.start_ns)
    if not ordered:
        raise ValueError("the profiler saw nothing on the GPU")
    if all(one.launched_ns is None for one in ordered):
        raise ValueError("the profiler saw no call that launched what ran on the GPU")
    starts = _anchor_starts(ordered, tokens)
    steps = len(starts) - 1
    if steps < FEWEST_STEPS:
        raise ValueError(f"the profiler saw {max(0, steps)} whole steps, and {FEWEST_STEPS} are the fewest to judge by")
    idle, own = [0] * steps, [0] * steps
    for gap in _gaps(ordered):
        step = bisect_left(starts, gap.end_ns) - 1
        if 0 <= step < steps:
            idle[step] += gap.length_ns
            own[step] += gap.length_ns * gap.is_own
    lengths = [after - before for before, after in pairwise(starts)]
    return DeviceWindow(
        tokens=steps,
        device_s=median(length - none for length, none in zip(lengths, idle, strict=True)) / 1e9,
        pass_s=median(lengths) / 1e9,
        graph_gap_s=median(own) / 1e9,
        kernels=_kernels([one for one in ordered if starts[0] <= one.start_ns < starts[-1]], steps),
    )


def _anchor_starts(ordered: Sequence[Activity], tokens: int) -> list[int]:
    """The starts of the anchor: of the kernels that run once a step, the one that is first in the trace.

    How many steps were traced is not known to the step, since an engine may run ahead: it is the number of runs, near
    `tokens`, that most kernels have.
    """
    counts = Counter(one.name for one in ordered)
    likely = {name: count for name, count in counts.items() if abs(count - tokens) <= AHEAD}
    votes = Counter(likely.values())
    if not votes:
        return []
    steps = max(votes, key=lambda count: (votes[count], -abs(count - tokens)))
    anchor = next(one.name for one in ordered if likely.get(one.name) == steps)
    return [one.start_ns for one in ordered if one.name == anchor]


def _gaps(ordered: Sequence[Activity]) -> list[_Idle]:
    """Each time in which nothing ran.

    All kernels of a graph share one launch, so that a gap between two of them is always the device's own.
    """
    found, reached_ns = [], ordered[0].end_ns
    for one in ordered:
        if one.start_ns > reached_ns:
            was_asked = one.launched_ns is not None and one.launched_ns < reached_ns
            found.append(_Idle(one.start_ns, one.start_ns - reached_ns, was_asked))
        reached_ns = max(reached_ns, one.end_ns)
    return found


def _kernels(ran: Sequence[Activity], steps: int) -> tuple[Kernel, ...]:
    """What `ran` in so many steps by name, longest first; what is beyond the names that are kept is one of them."""
    counts: Counter[str] = Counter()
    lengths: Counter[str] = Counter()
    for one in ran:
        counts[one.name[:NAME_CHARACTERS]] += 1
        lengths[one.name[:NAME_CHARACTERS]] += one.end_ns - one.start_ns
    names = [name for name, _ in lengths.most_common()]
    found = [_kernel(name, names[place : place + 1], counts, lengths, steps) for place, name in enumerate(names)]
    if len(found) <= NAMED_KERNELS:
        return tuple(found)
    return (*found[:NAMED_KERNELS], _kernel("others", names[NAMED_KERNELS:], counts, lengths, steps))


def _kernel(
    name: str, names: Sequence[str], counts: Mapping[str, int], lengths: Mapping[str, int], steps: int
) -> Kernel:
    return Kernel(
        name=name,
        count_per_token=sum(counts[one] for one in names) / steps,
        s_per_token=sum(lengths[one] for one in names) / steps / 1e9,
    )
