"""Whether what binds a cell is seen alike by those who look at it."""

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.rules.rule import Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.judge.token_times import signatures


@rule("pace_disagrees", Severity.NOTE, ("", "host"))
def pace_disagrees(seen: Seen) -> Found:
    """The times of tokens say of decoding what its split under the profiler says: that the host sets the pace or not.

    A note: what is doubted is what binds the cell, and not its speed, which was measured without the profiler.
    """
    found = signatures(seen.record) if seen.step else None
    if found is None or seen.step is None or seen.roofline is None or seen.summary is None:
        return
    prefill_s = seen.summary.time_to_last_first_token_s.mean
    if prefill_s > seen.summary.duration_s.mean - prefill_s:  # what binds the cell is not about decoding
        return
    by_host = seen.roofline.bound_by == "host_launch"
    values = {"host_share": seen.step.host_share, "autocorrelation": found.autocorrelation}
    if by_host and found.pace == "device":
        yield values
    elif not by_host and found.pace == "host":
        yield values | {"variant": "host"}
