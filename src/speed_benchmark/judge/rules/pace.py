"""Whether the host decoded at one pace."""

import statistics
from collections.abc import Sequence

from speed_benchmark.cell import INTERVAL_REPEATS, MAX_REPEATS, MAX_SECONDS
from speed_benchmark.judge.judgement import FindingValue, Severity
from speed_benchmark.judge.rules.precision import WIDE
from speed_benchmark.judge.rules.rule import PACED, Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.judge.statistics import repeats_needed

# The cure says how many repeats it would take to know the mean so well.
WANTED = 0.01


@rule("two_paces", Severity.NOTE, ("", "averages", "few", "hardly"), of=PACED)
def two_paces(seen: Seen) -> Found:
    """Decoding went at one pace, so that the mean is one that was seen.

    A note where the speed has an interval: that covers how the share of the slow pace changes from repeat to repeat.
    Doubtful where nothing covers it, and the slow pace moves the mean by more than a speed may be unsure of.
    """
    paces, summary = seen.paces, seen.summary
    if paces is None or summary is None:
        return
    speeds, _ = seen.speeds
    sequences = seen.record.cell.workload.batch_size
    values: dict[str, FindingValue] = {
        "fast_tokens_per_s": sequences / paces.fast_s,
        "slow_tokens_per_s": sequences / paces.slow_s,
        "slow_share": paces.slow_share,
        "dwell_s": paces.dwell_s,
    }
    lost = paces.slow_share * (1 - paces.fast_s / paces.slow_s)
    doubtful = summary.generation_tokens_per_s.interval is None and lost > WIDE
    cure = _cure(speeds, seen.quiet_gaps_s, sequences, summary.duration_s.mean)
    yield Severity.DOUBTFUL if doubtful else Severity.NOTE, values | cure


def _cure(
    speeds: Sequence[float], quiet_gaps_s: Sequence[float | None], sequences: int, duration_s: float
) -> dict[str, FindingValue]:
    """Which cure works, and its figures: `--precision` gives up after so many repeats, and after so long."""
    gaps_s = [gap_s for gap_s in quiet_gaps_s if gap_s is not None]
    if hardly := sum(gap_s > (1 + WIDE) * min(gaps_s) for gap_s in gaps_s):
        return {"variant": "hardly", "hardly": hardly, "count": len(gaps_s)}
    quiet = sequences * statistics.fmean(1 / gap_s for gap_s in gaps_s)
    if len(speeds) < INTERVAL_REPEATS:
        return {"variant": "few", "quiet_tokens_per_s": quiet}
    needed = repeats_needed(speeds, WANTED)
    averages = needed <= MAX_REPEATS and needed * duration_s <= MAX_SECONDS
    return {"variant": "averages" if averages else "", "quiet_tokens_per_s": quiet, "needed": needed}
