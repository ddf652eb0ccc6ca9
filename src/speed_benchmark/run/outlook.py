"""How long what is left of a sweep will take here: forecasts of its loads, by the records of this machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from speed_benchmark.cell import Cell
from speed_benchmark.errors import UserError
from speed_benchmark.machine import describe, peaks
from speed_benchmark.machine.device import Device, device
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.folder import read, record_files
from speed_benchmark.record.format import DamagedRecordError
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.record import Record
from speed_benchmark.run import estimate, forecast, known
from speed_benchmark.run.forecast import NOTHING, Belief, Observation, Range, Term
from speed_benchmark.run.plan import LoadGroup

# A machine is known by so many records, the newest ones; larger files are long to read and say no more.
MOST_RECORDS, MOST_BYTES = 40, 4 * 2**20


@dataclass(frozen=True)
class Load:
    """A load of which something can be forecast: its cells that can fit, and on what."""

    cells: tuple[Cell, ...]
    shape: Shape
    device: Device
    peaks: DevicePeaks | None


class Outlook:
    """Forecasts of loads, from the priors and from records of this machine in `folder`."""

    def __init__(self, groups: Sequence[LoadGroup], folder: Path | None) -> None:
        self._priors = forecast.shipped()
        records = list(_own(folder, groups)) if folder and groups else []
        known.ask([*(group.cells[-1].model for group in groups), *(record.cell.model for record in records)])
        seen = {(len(record.gpus), _card(record)): record.device_peaks for record in reversed(records)}
        self._loads = [_load(group, seen) for group in groups]
        observations = list(self._observations(records))
        terms = [self._terms(load) for load in self._loads]
        asked = [term for group in terms for term in group]
        start = Belief.of([*asked, *(one.term for one in observations)], self._priors.spreads)
        self._belief = start.after(observations)
        self._sums = [self._belief.sum_of(group) for group in terms]
        self.records = len(records)

    def seconds(self, number: int) -> Range | None:
        """How long the load of this number takes; None where the shape of its model is not known."""
        return self._belief.range_of(self._sums[number]) if self._loads[number] else None

    def total(self) -> Range:
        """How long all loads take one after the other, but for those of which nothing is known."""
        return self._belief.range_of(sum(self._sums, NOTHING))

    def tokens_per_s(self, number: int) -> Range | None:
        """Generated tokens/s of the cells of a load: lows and highs of all, and the middle of the shortest."""
        load = self._loads[number]
        speeds = [self._speed(cell, load) for cell in load.cells] if load else []
        if not speeds:
            return None
        return Range(min(one.low for one in speeds), speeds[0].middle, max(one.high for one in speeds))

    def cells(self) -> Iterator[tuple[str, float]]:
        """The id of each cell, as often as it is left, and its seconds with its part of the load."""
        for load, whole in zip(self._loads, self._sums, strict=True):
            for cell in load.cells if load else ():
                yield cell.cell_id, whole.seconds / len(load.cells) if load else 0.0

    def _speed(self, cell: Cell, load: Load) -> Range:
        whole = replace(cell, protocol=replace(cell.protocol, quick=False))
        terms = forecast.of_request(whole, load.shape, load.device, load.peaks, self._priors)
        taken = self._belief.range_of(self._belief.sum_of(terms))
        tokens = cell.workload.generate_length * cell.workload.batch_size
        return Range(tokens / taken.high, tokens / taken.middle, tokens / taken.low)

    def _terms(self, load: Load | None) -> list[Term]:
        if load is None or not load.cells:
            return []
        return forecast.of_load(load.cells, load.shape, load.device, load.peaks, self._priors)

    def _observations(self, records: Sequence[Record]) -> Iterator[Observation]:
        """The figures of records, the oldest first."""
        loads: set[float | None] = set()
        for record in sorted(records, key=lambda one: one.created_at):
            with suppress(UserError):  # its model is a folder that is gone
                shape = known.shape(record.cell.model)
                if shape:
                    on = device(record.gpus)
                    unknown = forecast.constants(record.cell.settings, shape, on, self._priors)
                    yield from forecast.observed(record, shape, unknown, is_first=record.load_s not in loads)
                    loads.add(record.load_s)


def _load(group: LoadGroup, seen: Mapping[tuple[int, str], DevicePeaks | None]) -> Load | None:
    """What can be forecast of `group`; `seen` are peaks in records, by the number of GPUs and their name."""
    shape = known.shape(group.cells[-1].model)
    if shape is None:
        return None
    on = device(group.gpus)
    cells = tuple(cell for cell in group.cells if estimate.misfit(cell, shape, on) is None)
    return Load(cells, shape, on, peaks.known(group.gpus) or seen.get((on.gpus, on.name)))


def _own(folder: Path, groups: Sequence[LoadGroup]) -> Iterator[Record]:
    """The newest records below `folder` that are of this machine, whatever GPUs of it the `groups` are on."""
    machines = [describe.describe(gpus) for gpus in {group.gpus for group in groups}]
    try:
        files = [path for path in record_files(folder) if path.is_file() and path.stat().st_size <= MOST_BYTES]
    except OSError:  # whoever writes there says it
        return
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)[:MOST_RECORDS]:
        with suppress(DamagedRecordError):  # `report` and `verify` name those
            record = read(path)
            is_here = any(describe.difference(record.machine, here) is None for here in machines)
            if is_here and record.loaded and not record.loaded.simulated:
                yield record


def _card(record: Record) -> str:
    return record.machine.gpus[0].name if record.machine.gpus else ""
