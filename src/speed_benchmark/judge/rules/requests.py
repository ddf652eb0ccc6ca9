"""Whether the requests of a record can all have been: each once, one after the other, when the record says."""

from datetime import datetime
from itertools import pairwise

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.moments import by_process, is_simulated, moment
from speed_benchmark.judge.rules.protocol import CLOCKS_INVALID, CLOCKS_RESOLUTION_S
from speed_benchmark.judge.rules.rule import Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.record.sample import Sample

# Times are stored to the nanosecond, and a sum of two of them is rounded.
ROUNDING_S = 1e-6
# A record is made when the last of its requests has ended, or has been given up.
DATE_S = 86_400


@rule("repeated_requests", Severity.INVALID)
def repeated_requests(seen: Seen) -> Found:
    """No request is there twice, in whatever process."""
    requests = (*seen.record.warmups, *seen.record.samples)
    simulated = is_simulated(seen.record)
    once = {(one.process if simulated else 0, moment(one)) for one in requests}
    if len(once) < len(requests):
        yield {"repeated": len(requests) - len(once), "requests": len(requests)}


@rule("overlapping_requests", Severity.INVALID)
def overlapping_requests(seen: Seen) -> Found:
    """The requests of a process begin one after the other, each when the one before it has ended."""
    for process, requests in by_process(seen.record).items():
        overlaps = sum(_overlap(one, following) for one, following in pairwise(requests))
        if overlaps:
            yield {"process": process + 1, "overlaps": overlaps, "requests": len(requests)}


@rule("other_date", Severity.NOTE)
def other_date(seen: Seen) -> Found:
    """The record was made when its requests ran."""
    starts_s = [one.started_at_unix_s for one in (*seen.record.warmups, *seen.record.samples)]
    if not starts_s or is_simulated(seen.record):
        return
    made_s = datetime.fromisoformat(seen.record.created_at).timestamp()
    away_s = max(min(starts_s) - made_s, made_s - max(starts_s))
    if away_s > DATE_S:
        yield {"created_at": seen.record.created_at, "days": away_s / DATE_S}


def _overlap(one: Sample, following: Sample) -> bool:
    """Whether a request begins before the one before it has ended, by the measurement's clock, else by the system's."""
    if one.started_at_s is not None and following.started_at_s is not None:
        return one.started_at_s + one.duration_s > following.started_at_s + ROUNDING_S
    ended_s = one.started_at_unix_s + (1 - CLOCKS_INVALID) * one.duration_s
    return ended_s > following.started_at_unix_s + CLOCKS_RESOLUTION_S
