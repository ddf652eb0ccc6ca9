"""What the hardware and the engine had to run with: clocks, the usual kernels, a share of the machine."""

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.rules.rule import PACED, Found, rule
from speed_benchmark.judge.seen import Seen

# Reasons for a lowered clock that say that something is wrong; the others are limits somebody chose.
HELD_DOWN = {"hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "hardware power brake"}
# A worker has a thread that launches kernels, and some that help it; with fewer cores they get in each other's way.
ENOUGH_CORES = 4


@rule("throttled", Severity.NOTE, ("", "held_down"), of=PACED)
def throttled(seen: Seen) -> Found:
    """The GPUs' clocks were not held down."""
    reasons = {
        reason
        for sample in seen.record.samples
        if sample.readings
        for gpu in sample.readings.gpus
        for reason in gpu.throttle_reasons
    }
    for reason in sorted(reasons):
        if reason in HELD_DOWN:
            yield Severity.DOUBTFUL, {"variant": "held_down", "reason": reason}
        else:
            yield {"reason": reason}


@rule("not_profiled", Severity.NOTE)
def not_profiled(seen: Seen) -> Found:
    """The pass under the profiler said how busy the device was."""
    if seen.record.profile and seen.record.profile.error:
        yield {"reason": seen.record.profile.error}


@rule("other_choice", Severity.NOTE)
def other_choice(seen: Seen) -> Found:
    """Something other than the usual choice runs, and the engine says why."""
    for reason in seen.record.loaded.reasons if seen.record.loaded else ():
        yield {"reason": reason}


@rule("forced_choice", Severity.DOUBTFUL)
def forced_choice(seen: Seen) -> Found:
    """Nothing was turned off that the engine uses on this machine by default."""
    for forced in seen.record.loaded.forced if seen.record.loaded else ():
        yield {"forced": forced}


@rule("shared_host", Severity.NOTE, ("", "unbound"), of=PACED)
def shared_host(seen: Seen) -> Found:
    """Nothing else ran on the machine that shares its processor, its memory or its power."""
    beside = seen.record.colocation
    if beside is None or not beside.workers_beside:
        return
    severity = Severity.NOTE if beside.cores >= ENOUGH_CORES else Severity.DOUBTFUL
    if beside.cores:
        yield severity, {"workers": beside.workers_beside, "cores": beside.cores}
    else:
        yield severity, {"variant": "unbound", "workers": beside.workers_beside}
