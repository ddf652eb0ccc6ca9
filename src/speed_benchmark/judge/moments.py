"""When requests ran: by that a measurement is known again, in whatever record or process it is stored."""

from collections import defaultdict

from speed_benchmark.cell import digest
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample


def moment(sample: Sample) -> str:
    """What no two requests share: the start on both clocks, the duration, and the output."""
    outputs = [sequence.output_digest for sequence in sample.sequences]
    return digest([sample.started_at_unix_s, sample.started_at_s, sample.duration_s, *outputs])


def moments(record: Record) -> frozenset[str]:
    """Those of the measured requests; none of a simulated record, whose virtual clock starts anew in each process."""
    return frozenset() if is_simulated(record) else frozenset(map(moment, record.samples))


def by_process(record: Record) -> dict[int, list[Sample]]:
    """Process -> all its requests in their order, warm-ups first."""
    found: dict[int, list[Sample]] = defaultdict(list)
    for request in (*record.warmups, *record.samples):
        found[request.process].append(request)
    return found


def is_simulated(record: Record) -> bool:
    """Whether its clock is virtual."""
    return record.loaded is not None and record.loaded.simulated
