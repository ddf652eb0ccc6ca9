"""Whether the measurement was run as it should be: by a steady clock, and warmed up."""

import math
from collections.abc import Sequence

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.moments import by_process
from speed_benchmark.judge.rules.rule import PACED, Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.record.sample import Sample

# By the measurement's clock, by the system's.
Times = tuple[float, float]

# The two clocks of a run may be this far apart. A moment can't be read on both at once, hence the seconds.
CLOCKS_DOUBTFUL, CLOCKS_INVALID, CLOCKS_RESOLUTION_S = 0.001, 0.01, 0.01


@rule("clocks", Severity.DOUBTFUL, ("", "requests"), of=PACED)
def clocks(seen: Seen) -> Found:
    """The clock of the measurement and that of the system saw the same time pass: from first to last, in all requests.

    What is let pass of the requests can't change their mean time by more than it is itself.
    """
    for requests in by_process(seen.record).values():
        whole, each = _from_first_to_last(requests), _in_requests(requests)
        if whole and (severity := _severity(*whole)):
            yield severity, {"measured_s": whole[0], "system_s": whole[1]}
        elif severity := _severity(*each):
            yield severity, {"variant": "requests", "measured_s": each[0], "system_s": each[1]}


@rule("no_warmup", Severity.DOUBTFUL)
def no_warmup(seen: Seen) -> Found:
    """At least one request ran before the first that counts."""
    if seen.record.samples and not seen.record.cell.protocol.warmups:
        yield {}


def _severity(measured_s: float, system_s: float) -> Severity | None:
    """How much is to be doubted of a time that the two clocks tell; None where nothing is."""
    apart_s = abs(system_s - measured_s) - CLOCKS_RESOLUTION_S
    if apart_s <= CLOCKS_DOUBTFUL * measured_s:
        return None
    return Severity.INVALID if apart_s > CLOCKS_INVALID * measured_s else Severity.DOUBTFUL


def _from_first_to_last(requests: Sequence[Sample]) -> Times | None:
    """From the first request of a process to the end of its last."""
    first, last = requests[0], requests[-1]
    if first.started_at_s is None or last.started_at_s is None or last.ended_at_unix_s is None:
        return None
    measured_s = last.started_at_s + last.duration_s - first.started_at_s
    return measured_s, last.ended_at_unix_s - first.started_at_unix_s


def _in_requests(requests: Sequence[Sample]) -> Times:
    """In all requests together; that one took longer and another one less by the system's clock does not even out."""
    times = [
        (one.duration_s, one.ended_at_unix_s - one.started_at_unix_s)
        for one in requests
        if one.ended_at_unix_s is not None
    ]
    measured_s = math.fsum(measured_s for measured_s, _ in times)
    return measured_s, measured_s + math.fsum(abs(system_s - measured_s) for measured_s, system_s in times)
