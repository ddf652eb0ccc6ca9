"""Whether the measurement was run as it should be: by a steady clock, and warmed up."""

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.rules.rule import Found, rule
from speed_benchmark.judge.seen import Seen

# The two clocks of a run may be this far apart. A moment can't be read on both at once, hence the seconds.
CLOCKS_DOUBTFUL, CLOCKS_INVALID, CLOCKS_RESOLUTION_S = 0.001, 0.01, 0.01


@rule("clocks", Severity.DOUBTFUL)
def clocks(seen: Seen) -> Found:
    """The clock of the measurement and the clock of the system saw the same time pass from first to last."""
    for process in range(seen.record.cell.protocol.processes):
        times = _times(seen, process)
        if times is None:
            continue
        measured_s, system_s = times
        apart_s = abs(system_s - measured_s) - CLOCKS_RESOLUTION_S
        if apart_s > CLOCKS_DOUBTFUL * measured_s:
            severity = Severity.INVALID if apart_s > CLOCKS_INVALID * measured_s else Severity.DOUBTFUL
            yield severity, {"measured_s": measured_s, "system_s": system_s}


@rule("no_warmup", Severity.DOUBTFUL)
def no_warmup(seen: Seen) -> Found:
    """At least one request ran before the first that counts."""
    if seen.record.samples and not seen.record.cell.protocol.warmups:
        yield {}


def _times(seen: Seen, process: int) -> tuple[float, float] | None:
    """From the first request of a process to the end of its last: by the measurement's clock, by the system's."""
    requests = [one for one in (*seen.record.warmups, *seen.record.samples) if one.process == process]
    if not requests:
        return None
    first, last = requests[0], requests[-1]
    if first.started_at_s is None or last.started_at_s is None or last.ended_at_unix_s is None:
        return None
    measured_s = last.started_at_s + last.duration_s - first.started_at_s
    return measured_s, last.ended_at_unix_s - first.started_at_unix_s
