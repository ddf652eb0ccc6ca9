"""Whether the repeats of a cell are alike, in any order."""

import statistics
from collections.abc import Sequence

from speed_benchmark.judge.judgement import FindingValue, Severity
from speed_benchmark.judge.rules.rule import WHOLE, Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.judge.statistics import (
    INTERVAL_PROCESSES,
    autocorrelation_p,
    between_group_variance,
    dependence,
    outlier_p,
    trend_p,
    two_groups,
)

# How often a rule about chance may speak of a quiet run that is as it should be.
FALSE_ALARMS = 0.01
# Differences in time below this matter to nobody, however sure they are.
MATERIAL = 0.02
# Repeats are bimodal from this many on, where two groups explain this share of the variance; simulated, one normal
# spread does so in less than 1 in 200 runs.
BIMODAL_REPEATS, BIMODAL_VARIANCE = 8, 0.95


@rule("slow_first_repeat", Severity.DOUBTFUL, ("", "of_process"), of=WHOLE)
def slow_first_repeat(seen: Seen) -> Found:
    """The first repeat of a process took no longer than the others let expect."""
    needed = seen.record.cell.protocol.warmups + 1
    for process, times_s in seen.durations_s.items():
        if _is_slow_first(times_s):
            yield _named(seen, process) | _against(times_s[0], times_s[1:]) | {"needed": needed}


@rule("trend", Severity.NOTE, ("rises", "falls"), of=WHOLE)
def trend(seen: Seen) -> Found:
    """The repeats don't get slower or faster one after the other."""
    speeds, over = seen.speeds
    if dependence(speeds) != "trend":
        return
    slope, _ = statistics.linear_regression(range(len(speeds)), speeds)
    change = slope * (len(speeds) - 1) / statistics.fmean(speeds)
    sure = float(trend_p(speeds)) < FALSE_ALARMS and abs(change) > MATERIAL
    yield (
        Severity.DOUBTFUL if sure else Severity.NOTE,
        {"variant": "rises" if change > 0 else "falls", "share": abs(change), "count": len(speeds), "over": over},
    )


@rule("autocorrelation", Severity.NOTE, of=WHOLE)
def autocorrelation(seen: Seen) -> Found:
    """A repeat does not depend on the one before it."""
    speeds, over = seen.speeds
    if dependence(speeds) != "autocorrelation":
        return
    chance = float(autocorrelation_p(speeds))
    sure = chance < FALSE_ALARMS and max(speeds) - min(speeds) > MATERIAL * statistics.fmean(speeds)
    yield (
        Severity.DOUBTFUL if sure else Severity.NOTE,
        {"over": over, "chance": chance, "needed": INTERVAL_PROCESSES},
    )


@rule("bimodal", Severity.DOUBTFUL, of=WHOLE)
def bimodal(seen: Seen) -> Found:
    """The repeats are around one time, not around two."""
    times_s = [time_s for times_s in seen.durations_s.values() for time_s in times_s]
    if len(times_s) < BIMODAL_REPEATS or float(between_group_variance(times_s)) <= BIMODAL_VARIANCE:
        return
    fast, slow = two_groups(times_s)
    fast_s, slow_s = statistics.fmean(fast), statistics.fmean(slow)
    if slow_s > (1 + MATERIAL) * fast_s:
        yield {"fast_count": len(fast), "fast_s": fast_s, "slow_count": len(slow), "slow_s": slow_s}


@rule("outlier", Severity.NOTE, ("", "of_process"))
def outlier(seen: Seen) -> Found:
    """Repeats far from all others are named; they stay in every figure. A slow first one has a rule of its own."""
    for process, times_s in seen.durations_s.items():
        skipped = 1 if _is_slow_first(times_s) else 0
        for index in range(skipped, len(times_s)):
            others_s = times_s[skipped:index] + times_s[index + 1 :]
            if _is_far(times_s[index], others_s, FALSE_ALARMS / len(times_s)):
                yield _named(seen, process) | {"repeat": index + 1} | _against(times_s[index], others_s)


def _is_slow_first(times_s: Sequence[float]) -> bool:
    return times_s[0] > statistics.fmean(times_s) and _is_far(times_s[0], times_s[1:], 2 * FALSE_ALARMS)


def _is_far(time_s: float, others_s: Sequence[float], chance: float) -> bool:
    """Whether a time differs from the others by more than `chance` explains and by enough to matter."""
    if len(others_s) < 2:
        return False
    usual_s = statistics.fmean(others_s)
    return abs(time_s - usual_s) > MATERIAL * usual_s and float(outlier_p(time_s, others_s)) < chance


def _named(seen: Seen, process: int) -> dict[str, FindingValue]:
    """Which process a repeat is of, where there are several."""
    several = seen.record.cell.protocol.processes > 1
    return {"variant": "of_process", "process": process + 1} if several else {}


def _against(time_s: float, others_s: Sequence[float]) -> dict[str, FindingValue]:
    return {"time_s": time_s, "others_s": statistics.fmean(others_s)}
