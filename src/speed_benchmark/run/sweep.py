"""The parent: what is missing of a sweep, load group after load group or side by side, each record stored at once."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace

from speed_benchmark.errors import UserError
from speed_benchmark.machine import cores, nvml
from speed_benchmark.machine.device import device
from speed_benchmark.models.hub.download import FetchError
from speed_benchmark.models.source import fetch
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.store import Store, StoreError
from speed_benchmark.run import estimate, known
from speed_benchmark.run.interrupt import Interrupt, Stopped
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.observer import Observer
from speed_benchmark.run.outlook import Outlook
from speed_benchmark.run.plan import LoadGroup, parse_gpus
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.recorder import Recorder
from speed_benchmark.run.resume import Survey, missing, summary, survey
from speed_benchmark.run.session import Context, Session, joined
from speed_benchmark.run.skips import cannot_fit
from speed_benchmark.run.stored import Stored
from speed_benchmark.run.unfinished import Unfinished, recover

_POLL_S = 0.2


def run_sweep(
    groups: Sequence[LoadGroup],
    store: Store,
    policy: Policy,
    limits: Limits,
    observer: Observer,
    interrupt: Interrupt,
) -> list[Stored]:
    """Measure what is missing of `groups` and store a record for each cell, whatever comes of it.

    Returns what answers for all their cells in their order, what was there included. Raises StoreError where a record
    can't be stored.
    """
    with interrupt.abrupt():
        recovered = recover(store)
    if recovered:
        observer.said(f"stored what was finished of {recovered} cells when an earlier run was killed")
    with interrupt.abrupt():
        found = survey(groups, store, policy, observer.fetching)
    left = list(missing(groups, found.found, policy.rounds))
    _tell(found, left, observer)
    unfinished = Unfinished(store)
    recorder = Recorder(store, observer, unfinished, found.answers)
    sweep = _Sweep(Context(store, recorder, policy, limits, observer, interrupt))
    try:
        sweep.run(left)
    except Stopped:
        pass  # what is finished is stored; the interrupt says the rest
    finally:
        unfinished.end()
    order = {cell.cell_id: number for number, cell in enumerate(cell for group in groups for cell in group.cells)}
    return sorted([*found.found, *recorder.stored], key=lambda stored: order[stored.cell_id])


def _tell(found: Survey, left: Sequence[LoadGroup], observer: Observer) -> None:
    """Say what of the sweep is there already."""
    done, asked = len(found.found), len(found.found) + sum(len(group.cells) for group in left)
    for line in found.lines():
        observer.said(line)
    if done:
        observer.said(summary(found.found, asked))
    observer.planned(cells=asked, done=done)
    for line in known.notes(cell.model for group in left for cell in group.cells):
        observer.said(line)
    observer.expected(list(Outlook(left, found.folder).cells()))


class _Sweep:
    """The sessions of a run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: list[Session] = []

    def run(self, groups: Sequence[LoadGroup]) -> None:
        """Measure `groups`, or as much of them as can fit."""
        if not self._context.policy.no_skip:
            groups = [group for group in map(self._without_misfits, groups) if group.cells]
        if self._context.policy.parallel:
            self._side_by_side(groups)
        else:
            self._one_by_one(groups)

    def _without_misfits(self, group: LoadGroup) -> LoadGroup:
        """`group` less the cells that can't fit; each of them gets a record that says so."""
        shape, here = known.shape(group.cells[0].model), device(group.gpus)
        session = Session(group, self._context)
        for draft in session.collector.drafts:
            reason = estimate.misfit(draft.cell, shape, here)
            if reason:
                session.store_record(draft, Outcome.SKIPPED, cannot_fit(reason))
        return replace(group, cells=session.collector.cells)

    def _one_by_one(self, groups: Sequence[LoadGroup]) -> None:
        """Measure group after group."""
        for group in groups:
            self._measure(group, ())

    def _side_by_side(self, groups: Sequence[LoadGroup]) -> None:
        """Start each group as soon as enough GPUs are free for it; those on the CPU come last, one by one."""
        for model in dict.fromkeys(cell.model for group in groups for cell in group.cells):  # no downloads beside a run
            with suppress(FetchError, UserError), self._context.interrupt.abrupt():
                fetch(model, self._context.observer.fetching)
        gpus = _all_gpus(groups)
        waiting, free = [group for group in groups if group.gpus], set(gpus)
        running: dict[Future[None], LoadGroup] = {}
        refusals: list[StoreError] = []
        with ThreadPoolExecutor(max(1, len(gpus))) as threads:
            while waiting or running:
                if self._context.interrupt.soon:
                    waiting.clear()
                for group in list(waiting):
                    placed = place(group, free)
                    if placed:
                        waiting.remove(group)
                        free -= set(placed.gpus)
                        running[threads.submit(self._measure, placed, cores_of(placed.gpus, gpus))] = placed
                for future in wait(running, _POLL_S, FIRST_COMPLETED).done:
                    free |= set(running.pop(future).gpus)
                    if future.exception():
                        self._context.interrupt.stop()  # the others too
                    try:
                        future.result()
                    except StoreError as error:
                        refusals.append(error)
        if refusals:
            raise joined(refusals)
        self._one_by_one([group for group in groups if not group.gpus])

    def _measure(self, group: LoadGroup, its_cores: tuple[int, ...]) -> None:
        """Measure all cells of a group, unless a stop is asked for."""
        if self._context.interrupt.soon:
            return
        session = Session(group, self._context, its_cores)
        with self._noted(session):
            session.measure()

    @contextmanager
    def _noted(self, session: Session) -> Iterator[None]:
        """Inside, it counts as running: each session knows how many others ran beside it at most."""
        self._running.append(session)
        for one in list(self._running):
            one.beside = max(one.beside, len(self._running) - 1)
        try:
            yield
        finally:
            self._running.remove(session)


def _all_gpus(groups: Sequence[LoadGroup]) -> list[int]:
    """The GPUs that are visible here, and those that `groups` name, whatever CUDA_VISIBLE_DEVICES says."""
    named = {gpu for group in groups for gpu in group.gpus}
    with suppress(UserError):  # it names none of this machine, and the groups have theirs by --gpus
        named |= set(parse_gpus(None))
    return sorted(named)


def place(group: LoadGroup, free: set[int]) -> LoadGroup | None:
    """`group` on GPUs that are free, None where it has to wait."""
    gpus = tuple(sorted(free)[: len(group.gpus)]) if group.movable else group.gpus
    return replace(group, gpus=gpus) if len(gpus) == len(group.gpus) and free.issuperset(gpus) else None


def cores_of(gpus: Sequence[int], all_gpus: Sequence[int]) -> tuple[int, ...]:
    """The processor cores of a worker on `gpus`: each of `all_gpus` has an equal share, near to it.

    () where there are too few, or where the system does not bind processes to cores.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    shares = cores.shares(cores.topology(), usable, {gpu: nvml.numa_node(gpu) for gpu in all_gpus})
    return tuple(core for gpu in gpus for core in shares[gpu])
