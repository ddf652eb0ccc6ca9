"""Whether other programs disturbed the measurement."""

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.rules.rule import PACED, Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Memory

# A program that competes for the processor gets half a core at least, a quiet machine's own doings stay far below;
# on many cores, what others do matters as a share.
OTHER_CORES, OTHER_SHARE = 0.25, 0.02
# A CUDA context of somebody else takes more than the first from one repeat to the next, and more than the second
# since the load; kernels and libraries that are loaded by the first requests stay below it.
FOREIGN_BYTES, LATE_BYTES = 256 * 2**20, 512 * 2**20
# Caches of the system that come and go stay below this growth; memory this full may be swapped.
HOST_GROWTH_BYTES, HOST_GROWTH, HOST_FULL = 2**30, 0.1, 0.95


@rule("busy_gpu", Severity.DOUBTFUL)
def busy_gpu(seen: Seen) -> Found:
    """Nobody used the GPUs before the load."""
    for reason in seen.record.busy:
        yield {"reason": reason}


@rule("foreign_process", Severity.DOUBTFUL)
def foreign_process(seen: Seen) -> Found:
    """No other program was on the GPUs during the repeats."""
    found = {
        (gpu.index, process)
        for sample in seen.record.samples
        if sample.readings
        for gpu in sample.readings.gpus
        for process in gpu.foreign_processes
    }
    for index, process in sorted(found):
        yield {"process": process, "gpu": index}


@rule("foreign_memory", Severity.DOUBTFUL)
def foreign_memory(seen: Seen) -> Found:
    """Nobody else took or gave back the GPUs' memory, from the load to the last repeat."""
    record = seen.record
    outside = [taken for taken in (_outside_bytes(sample.memory) for sample in record.samples) if taken is not None]
    if not outside:
        return
    change = max(outside) - min(outside)
    at_load = _outside_bytes(record.load_memory) if record.load_memory else None
    since_load = 0 if at_load is None else max(abs(taken - at_load) for taken in outside)
    if change > FOREIGN_BYTES or since_load > LATE_BYTES:
        yield {"bytes": max(change, since_load)}


@rule("other_load", Severity.DOUBTFUL, of=PACED)
def other_load(seen: Seen) -> Found:
    """Other programs left the processor alone during the repeats."""
    cores = seen.record.machine.cores
    taken = [sample.readings.other_cores for sample in seen.record.samples if sample.readings]
    means = [other_cores.mean for other_cores in taken if other_cores]
    disturbed = [mean for mean in means if mean > max(OTHER_CORES, OTHER_SHARE * cores)]
    if disturbed:
        yield {"busy_cores": max(disturbed), "cores": cores, "disturbed": len(disturbed), "repeats": len(means)}


@rule("host_memory_taken", Severity.DOUBTFUL)
def host_memory_taken(seen: Seen) -> Found:
    """Other programs left the host's memory as it was."""
    most = _most_memory_of_others(seen.record)
    if most is None:
        return
    all_bytes = seen.record.machine.memory_bytes
    grown = most - (all_bytes - seen.record.machine_before.memory_available_bytes)
    if grown > max(HOST_GROWTH_BYTES, HOST_GROWTH * all_bytes):
        yield {"bytes": grown}


@rule("host_memory_short", Severity.DOUBTFUL)
def host_memory_short(seen: Seen) -> Found:
    """There was enough of the host's memory."""
    most = _most_memory_of_others(seen.record)
    if most is None:
        return
    own = max((sample.memory.host_peak_rss_bytes or 0 for sample in seen.record.samples), default=0)
    if most + own > HOST_FULL * seen.record.machine.memory_bytes:
        yield {"bytes": seen.record.machine.memory_bytes}


def _outside_bytes(memory: Memory) -> int | None:
    """What of the GPUs' memory is not the worker's, or where that is not told, not its allocator's."""
    own = memory.process_device_bytes
    own = memory.allocator_reserved_bytes if own is None else own
    return None if memory.device_used_bytes is None else memory.device_used_bytes - (own or 0)


def _most_memory_of_others(record: Record) -> float | None:
    """The most of the host's memory that other programs had during the repeats; None where it was not read."""
    taken = [sample.readings.other_memory_bytes for sample in record.samples if sample.readings]
    return max((one.maximum for one in taken if one), default=None)
