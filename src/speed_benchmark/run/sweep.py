"""The parent: what is missing of a sweep, load after load or side by side, each record stored at once."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace

from speed_benchmark.cell import Cell
from speed_benchmark.errors import UserError
from speed_benchmark.models.hub.download import FetchError
from speed_benchmark.models.source import fetch
from speed_benchmark.record.record import Cause, Outcome
from speed_benchmark.record.store import Store
from speed_benchmark.run import estimate as predict
from speed_benchmark.run.interrupt import Interrupt
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.plan import Load, known_config, parse_gpus
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.resume import answered, missing
from speed_benchmark.run.session import Context, Observer, Session, Stored

__all__ = ["Observer", "Stored", "run"]

_POLL_S = 0.2


def run(
    loads: Sequence[Load], store: Store, policy: Policy, limits: Limits, observer: Observer, interrupt: Interrupt
) -> list[Stored]:
    """Measure what is missing of `loads` and store a record for each cell, whatever comes of it.

    Returns the records of all their cells, those that were there included. Raises StoreError where one can't be stored.
    """
    found = answered(loads, store, policy)
    done = Counter(record.cell_id for record, _ in found)
    left = list(missing(loads, done, policy.rounds))
    observer.planned(cells=len(found) + sum(len(load.cells) for load in left), done=len(found))
    sweep = _Sweep(Context(store, limits, observer, interrupt), policy)
    try:
        left = [load for load in map(sweep.without_misfits, left) if load.cells]
        if policy.parallel:
            sweep.side_by_side(left)
        else:
            sweep.one_by_one(left)
    except KeyboardInterrupt:
        pass  # what is finished is stored; the interrupt says the rest
    order = {cell.cell_id: number for number, cell in enumerate(cell for load in loads for cell in load.cells)}
    return sorted([*found, *sweep.stored], key=lambda stored: order[stored[0].cell_id])


class _Sweep:
    """The loads of a run, and what has come of them so far."""

    def __init__(self, context: Context, policy: Policy) -> None:
        self.context, self.policy = context, policy
        self.stored: list[Stored] = []
        self._running: list[Session] = []

    def without_misfits(self, load: Load) -> Load:
        """`load` less the cells that can't fit; each of them gets a record that says so."""
        if self.policy.no_skip:
            return load
        config, device = known_config(load.cells[0].model), predict.device(load.gpus)
        for cell in load.cells:
            reason = predict.misfit(cell, config, device)
            if reason:
                load = self._skip(
                    load, (cell,), Cause(kind="predicted", message=f"not run, for it can't fit: {reason}")
                )
        return load

    def one_by_one(self, loads: Sequence[Load]) -> None:
        """Measure load after load."""
        for load in loads:
            self._measure(load, ())

    def side_by_side(self, loads: Sequence[Load]) -> None:
        """Start each load as soon as enough GPUs are free for it; those on the CPU come last, one by one."""
        for model in dict.fromkeys(cell.model for load in loads for cell in load.cells):  # no downloads beside a run
            with suppress(FetchError, UserError), self.context.interrupt.abrupt():
                fetch(model, self.context.observer.fetching)
        gpus = sorted({*parse_gpus(None), *(gpu for load in loads for gpu in load.gpus)})
        waiting, free = [load for load in loads if load.gpus], set(gpus)
        running: dict[Future[None], Load] = {}
        with ThreadPoolExecutor(max(1, len(gpus))) as threads:
            while waiting or running:
                if self.context.interrupt.soon:
                    waiting.clear()
                for load in list(waiting):
                    placed = place(load, free)
                    if placed:
                        waiting.remove(load)
                        free -= set(placed.gpus)
                        running[threads.submit(self._measure, placed, cores_of(placed.gpus, gpus))] = placed
                for future in wait(running, _POLL_S, FIRST_COMPLETED).done:
                    free |= set(running.pop(future).gpus)
                    if future.exception():
                        self.context.interrupt.stop()  # the others too, before it is raised
                        future.result()
        self.one_by_one([load for load in loads if not load.gpus])

    def _measure(self, load: Load, cores: tuple[int, ...]) -> None:
        """Measure all cells of a load; after one that failed the rest starts clean, in a new worker."""
        while load.cells and not self.context.interrupt.soon:
            session = Session(load, self.context, cores)
            self._running.append(session)
            for one in list(self._running):
                one.beside = max(one.beside, len(self._running) - 1)
            try:
                session.measure()
            finally:
                self._running.remove(session)
                self.stored += session.kept.values()
            load = replace(load, cells=session.left)
            for record, _ in session.kept.values():
                if record.outcome is Outcome.OOM and not self.policy.no_skip:
                    load = self._skip(load, _longer(load.cells, record.cell), _after(record.cell))

    def _skip(self, load: Load, cells: tuple[Cell, ...], cause: Cause) -> Load:
        """`load` less `cells`, which are recorded as out of memory for `cause`."""
        if cells:
            session = Session(replace(load, cells=cells), self.context)
            session.fail(Outcome.OOM, cause)
            self.stored += session.kept.values()
        return replace(load, cells=tuple(cell for cell in load.cells if cell not in cells))


def place(load: Load, free: set[int]) -> Load | None:
    """`load` on GPUs that are free, None where it has to wait."""
    gpus = tuple(sorted(free)[: len(load.gpus)]) if load.movable else load.gpus
    return replace(load, gpus=gpus) if len(gpus) == len(load.gpus) and free.issuperset(gpus) else None


def cores_of(gpus: Sequence[int], all_gpus: Sequence[int]) -> tuple[int, ...]:
    """The processor cores of a worker on `gpus`: each of `all_gpus` has an equal share; () where there are too few."""
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // len(all_gpus)
    firsts = [all_gpus.index(gpu) * share for gpu in gpus]
    return tuple(core for first in firsts for core in cores[first : first + share])


def _longer(cells: Sequence[Cell], than: Cell) -> tuple[Cell, ...]:
    """Those that need at least as many tokens at every point as the cell `than`, and more in all."""
    context = than.workload.context_length
    return tuple(
        cell for cell in cells if cell.workload.context_length >= context and cell.total_tokens > than.total_tokens
    )


def _after(cell: Cell) -> Cause:
    asked = f"input {cell.workload.context_length} and output {cell.workload.generate_length}"
    return Cause(
        kind="after_shorter", message=f"not run: {asked} of the same load ran out of memory, and this is longer"
    )
