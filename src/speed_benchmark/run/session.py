"""One load's turn: fetch the weights, start a worker, turn what it says into records, store each at once."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from speed_benchmark.cell import Cell
from speed_benchmark.engines import registry
from speed_benchmark.errors import UserError
from speed_benchmark.judge.agreement import agreement
from speed_benchmark.judge.checks import judge
from speed_benchmark.machine import describe as machine
from speed_benchmark.machine import idle, nvml
from speed_benchmark.machine import peaks as rates
from speed_benchmark.machine.readings import Sampler
from speed_benchmark.models import rope
from speed_benchmark.models.cost import work
from speed_benchmark.models.hub.download import FetchError
from speed_benchmark.models.source import Fetched, fetch
from speed_benchmark.record.record import Audit, Cause, Outcome, Profile, Rates, Record, Sample, Sampling, Share
from speed_benchmark.record.store import Store
from speed_benchmark.run.interrupt import Interrupt
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.plan import Load
from speed_benchmark.run.process import Worker, WorkerEndedError, worker_environment
from speed_benchmark.run.provenance import provenance
from speed_benchmark.worker import events

Stored = tuple[Record, Path]

# A GPU's memory counts as free again once so little more is taken than before.
_FREED_BYTES = 256 * 2**20
_FREED_WITHIN_S = 30.0


class Observer(Protocol):
    """Who watches a sweep: a terminal, a log, or nobody."""

    def planned(self, cells: int, done: int) -> None:
        """The sweep has so many cells, and so many of them are measured already."""
        ...

    def fetching(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Weights are being downloaded or made."""
        ...

    def happened(self, cell: Cell, event: events.Event) -> None:
        """The worker that measures `cell` said something."""
        ...

    def stored(self, record: Record, path: Path) -> None:
        """A record is on disk."""
        ...


@dataclass(frozen=True)
class Context:
    """What all sessions of a sweep share."""

    store: Store
    limits: Limits
    observer: Observer
    interrupt: Interrupt


@dataclass
class _Draft:
    """What has come in for one cell so far."""

    prompt: str | None = None
    sampling: Sampling | None = None
    warmups: list[Sample] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    audit: Audit | None = None
    profile: Profile | None = None


class Session:
    """The turn of one load: a draft for each of its cells, and the records they become, by the cells' index.

    It ends early when a cell fails, so that the rest can start clean in another one.
    """

    def __init__(self, load: Load, context: Context, cores: tuple[int, ...] = ()) -> None:
        self.load, self.context, self.cores = load, context, cores
        self.machine = machine.describe(load.gpus)
        self.before = machine.observe(load.gpus)
        self.fetched: Fetched | None = None
        self.loaded: events.LoadDone | None = None
        self.drafts = [_Draft() for _ in load.cells]
        self.kept: dict[int, Stored] = {}
        self.beside = 0
        self.busy: tuple[str, ...] = ()
        self.rates: Rates | None = None

    @property
    def left(self) -> tuple[Cell, ...]:
        """The cells that have no record yet."""
        return tuple(cell for index, cell in enumerate(self.load.cells) if index not in self.kept)

    def fail(self, outcome: Outcome, cause: Cause) -> None:
        """Store a failure for every cell that is left."""
        for index in range(len(self.load.cells)):
            if index not in self.kept:
                self._keep(index, outcome, cause)

    def measure(self) -> None:
        """Run the workers until all cells are done, one has failed, or a stop is asked for."""
        indices = self._fetch()
        processes = max((self.load.cells[index].protocol.processes for index in indices), default=0)
        for process in range(processes):
            self.context.store.check_room()
            turn = [index for index in indices if self.load.cells[index].protocol.processes > process]
            if self.context.interrupt.soon or not self._work(turn, process):
                return

    def _fetch(self) -> list[int]:
        """Have the weights; returns the cells that one load will do for, those with the first one's rope settings."""
        cells = self.load.cells
        try:
            with self.context.interrupt.abrupt():
                self.fetched = fetch(cells[0].model, self.context.observer.fetching)
        except (FetchError, UserError) as error:
            self.fail(Outcome.REFUSED, Cause(message=str(error), stage="fetch"))
            return []
        overrides: dict[int, dict[str, Any]] = {}
        for index, cell in enumerate(cells):
            try:
                overrides[index] = rope.config_overrides(self.fetched.config, cell.total_tokens)
            except ValueError as error:
                self._keep(index, Outcome.TOO_LONG, Cause(message=str(error), stage="fetch"))
        first = next(iter(overrides.values()), {})
        return [index for index, keys in overrides.items() if keys == first]

    def _overrides(self, indices: list[int]) -> dict[str, Any]:
        assert self.fetched is not None  # noqa: S101 - asked once the weights are there
        return rope.config_overrides(self.fetched.config, max(self.load.cells[index].total_tokens for index in indices))

    def _work(self, turn: list[int], process: int) -> bool:
        """One worker for the cells at the indices in `turn`; returns whether it did them all."""
        assert self.fetched is not None  # noqa: S101 - asked once the weights are there
        if not self._quiet(turn):
            return False
        limits, gpus = self.context.limits, self.load.gpus
        last = [index for index in turn if self.load.cells[index].protocol.processes == process + 1]
        job = events.Job(
            engine=self.load.cells[0].settings.engine,
            checkpoint_dir=str(self.fetched.folder),
            config_overrides=self._overrides(turn),
            cells=tuple(self.load.cells[index] for index in turn),
            gpus=self.load.gpus,
            cores=self.cores,
            profile=tuple(map(turn.index, last)) if gpus and not limits.no_profile else (),
        )
        used_bytes = nvml.used_memory_bytes(gpus)
        left, stage = list(turn), ""  # the cells of this turn that are not done, and where the worker is
        self.loaded = None
        sampler = Sampler(gpus, worker_environment(gpus))
        worker = Worker(job, limits)
        try:
            for event in worker.events():
                interrupt = self.context.interrupt
                if interrupt.now or (interrupt.soon and (stage != "repeat" or isinstance(event, events.Stage))):
                    if stage == "profile":
                        self._keep(left[0], Outcome.OK, None)
                    elif left:
                        self._keep_part(left[0])
                    return False
                if event is None:
                    continue
                if (cell := getattr(event, "cell", None)) is not None and turn[cell : cell + 1] != left[:1]:
                    raise worker.nonsense(event)
                self.context.observer.happened(self.load.cells[left[0] if left else turn[-1]], event)
                stage = event.name if isinstance(event, events.Stage) else stage
                if isinstance(event, events.CellDone):
                    stage = ""
                    if self.load.cells[left[0]].protocol.processes == process + 1:
                        self._keep(left[0], Outcome.OK, None)
                    del left[0]
                else:
                    self._take(event, turn, process, sampler)
        except WorkerEndedError as ended:
            if stage == "profile":  # all that counts was measured before
                self.drafts[left[0]].profile = Profile(error=ended.cause.message)
                self._keep(left.pop(0), Outcome.OK, None)
                return not left
            # a load that failed fails all its cells, a request that failed its own
            for index in left[:1] if self.loaded else list(left):
                self._keep(index, ended.outcome, ended.cause)
            return not left  # all was done already if it ended in closing
        finally:
            worker.end()
            sampler.end()
            _wait_until(lambda: _freed(gpus, used_bytes))
        return True

    def _quiet(self, turn: list[int]) -> bool:
        """Whether the cells in `turn` may start: nobody else uses the GPUs, or that is allowed.

        Then also measure what the device can do at best, where nobody did on this machine.
        """
        limits, gpus, interrupt = self.context.limits, self.load.gpus, self.context.interrupt
        with interrupt.abrupt():
            busy = idle.wait(gpus, limits.wait_idle, lambda: interrupt.soon)
            self.busy = self.busy or busy
            if interrupt.soon:
                return False
            if busy and not limits.allow_busy:
                cure = "--wait_idle SECONDS waits for others to end, --allow_busy measures beside them"
                for index in turn:
                    self._keep(index, Outcome.REFUSED, Cause(message=f"{'; '.join(busy)}; {cure}", stage="idle"))
                return False
            if self.rates is None and registry.find(self.load.cells[0].settings.engine).requires:
                self.rates = rates.measured(gpus, worker_environment(gpus), keep=not busy)
        return True

    def _take(self, event: events.Event, turn: list[int], process: int, sampler: Sampler) -> None:
        match event:
            case events.LoadDone():
                self.loaded = event
            case events.Prompted():
                draft = self.drafts[turn[event.cell]]
                draft.prompt, draft.sampling = event.kind, event.sampling
            case events.Sampled():
                draft = self.drafts[turn[event.cell]]
                readings = None if event.warmup else sampler.readings(event.sample)
                sample = event.sample.model_copy(update={"process": process, "readings": readings})
                (draft.warmups if event.warmup else draft.samples).append(sample)
            case events.Audited():
                self.drafts[turn[event.cell]].audit = event.audit
            case events.Profiled():
                self.drafts[turn[event.cell]].profile = event.profile

    def _keep_part(self, index: int) -> None:
        """What is finished of a cell that is not: no result, but nothing measured is thrown away."""
        done = len(self.drafts[index].samples)
        if done:
            self._keep(index, Outcome.INVALID, Cause(kind="interrupted", message=f"interrupted after {done} requests"))

    def _keep(self, index: int, outcome: Outcome, cause: Cause | None) -> None:
        """Judge and store what is known of a cell."""
        cell, draft, loaded = self.load.cells[index], self.drafts[index], self.loaded
        record = Record(
            cell_id=cell.cell_id,
            cell=cell,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            outcome=outcome,
            cause=cause,
            prompt=draft.prompt,
            sampling=draft.sampling,
            config_overrides=self._overrides([index]) if loaded else {},
            checkpoint=self.fetched.checkpoint if self.fetched else None,
            loaded=loaded.loaded if loaded else None,
            load_s=loaded.load_s if loaded else None,
            load_memory=loaded.memory if loaded else None,
            warmups=tuple(draft.warmups),
            samples=tuple(draft.samples),
            audit=draft.audit,
            busy=self.busy,
            work=work(self.fetched.config, cell.settings, loaded.loaded) if self.fetched and loaded else None,
            rates=self.rates if loaded else None,
            profile=draft.profile,
            gpus=self.load.gpus,
            share=Share(workers_beside=self.beside, cores=len(self.cores)) if self.beside else None,
            machine=self.machine,
            machine_before=self.before,
            machine_after=machine.observe(self.load.gpus),
            provenance=provenance(loaded.packages if loaded else {}),
        )
        others = (other for _, other in self.context.store.records() if isinstance(other, Record))
        record = judge(record.model_copy(update={"agreement": agreement(record, others)}))
        self.kept[index] = self.context.store.write(record)
        self.context.observer.stored(*self.kept[index])


def _freed(gpus: tuple[int, ...], before_bytes: int | None) -> bool:
    now_bytes = nvml.used_memory_bytes(gpus)
    return before_bytes is None or now_bytes is None or now_bytes <= before_bytes + _FREED_BYTES


def _wait_until(ready: Callable[[], bool]) -> None:
    """Give a driver time to take back what a dead process had; the next record says what was taken before it began."""
    give_up = time.monotonic() + _FREED_WITHIN_S
    while not ready() and time.monotonic() < give_up:
        time.sleep(0.1)
