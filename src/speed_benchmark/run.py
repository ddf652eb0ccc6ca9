"""The parent: for each load start a worker, turn what it says into records, store each at once."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from speed_benchmark import events
from speed_benchmark.cell import Cell
from speed_benchmark.errors import UserError
from speed_benchmark.limits import Limits
from speed_benchmark.measure import machine
from speed_benchmark.models import rope
from speed_benchmark.models.hubs import FetchError
from speed_benchmark.models.source import Fetched, fetch
from speed_benchmark.plan import Load
from speed_benchmark.process import Worker, WorkerEndedError
from speed_benchmark.provenance import provenance
from speed_benchmark.results.checks import judge
from speed_benchmark.results.record import Audit, Cause, Outcome, Record, Sample, Sampling
from speed_benchmark.results.store import Store

Stored = tuple[Record, Path]


class Observer(Protocol):
    """Who watches a run: a terminal, a log, or nobody."""

    def fetching(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Weights are being downloaded or made."""
        ...

    def happened(self, cell: Cell, event: events.Event) -> None:
        """The worker that measures `cell` said something."""
        ...

    def stored(self, record: Record, path: Path) -> None:
        """A record is on disk."""
        ...


@dataclass
class _Draft:
    """What has come in for one cell so far."""

    prompt: str | None = None
    sampling: Sampling | None = None
    warmups: list[Sample] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    audit: Audit | None = None


class _Session:
    """One worker's work: what it loaded, a draft for each of its cells, and the records they become."""

    def __init__(self, load: Load, store: Store, observer: Observer) -> None:
        self.load, self.store, self.observer = load, store, observer
        self.machine = machine.describe(load.gpus)
        self.before = machine.observe(load.gpus)
        self.fetched: Fetched | None = None
        self.loaded: events.LoadDone | None = None
        self.drafts = [_Draft() for _ in load.cells]
        self.stored: list[Stored] = []

    @property
    def overrides(self) -> dict[str, Any]:
        """Keys of config.json to replace so that the longest cell fits: YaRN, or none."""
        assert self.fetched is not None  # noqa: S101 - asked once the weights are there
        return rope.config_overrides(self.fetched.config, max(cell.total_tokens for cell in self.load.cells))

    def measure(self, limits: Limits) -> None:
        """Run one worker until it has done all cells or one has failed; stores a record for each of these."""
        cells = self.load.cells
        try:
            self.fetched = fetch(cells[0].model, self.observer.fetching)
            overrides = self.overrides
        except (FetchError, UserError) as error:
            self._fail(range(len(cells)), Outcome.REFUSED, Cause(message=str(error), stage="fetch"))
            return
        except ValueError as error:
            self._fail(range(len(cells)), Outcome.TOO_LONG, Cause(message=str(error), stage="fetch"))
            return
        job = events.Job(
            engine=cells[0].settings.engine,
            checkpoint_dir=str(self.fetched.folder),
            config_overrides=overrides,
            cells=cells,
            gpus=self.load.gpus,
        )
        worker = Worker(job, limits)
        try:
            for event in worker.events():
                self.observer.happened(cells[min(len(self.stored), len(cells) - 1)], event)
                self._take(event)
        except WorkerEndedError as ended:
            begun = len(self.stored)  # a load that failed fails all its cells, a request that failed its own
            self._fail(range(begun, begun + 1 if self.loaded else len(cells))[: len(cells)], ended.outcome, ended.cause)
        finally:
            worker.end()

    def _take(self, event: events.Event) -> None:
        match event:
            case events.LoadDone():
                self.loaded = event
            case events.Prompted():
                draft = self.drafts[event.cell]
                draft.prompt, draft.sampling = event.kind, event.sampling
            case events.Sampled():
                draft = self.drafts[event.cell]
                (draft.warmups if event.warmup else draft.samples).append(event.sample)
            case events.Audited():
                self.drafts[event.cell].audit = event.audit
            case events.CellDone():
                self._keep(event.cell, Outcome.OK, None)

    def _fail(self, cells: range, outcome: Outcome, cause: Cause) -> None:
        for index in cells:
            self._keep(index, outcome, cause)

    def _keep(self, index: int, outcome: Outcome, cause: Cause | None) -> None:
        """Judge and store what is known of a cell."""
        cell, draft, loaded = self.load.cells[index], self.drafts[index], self.loaded
        record = judge(
            Record(
                cell_id=cell.cell_id,
                cell=cell,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                outcome=outcome,
                cause=cause,
                prompt=draft.prompt,
                sampling=draft.sampling,
                config_overrides=self.overrides if self.fetched and loaded else {},
                checkpoint=self.fetched.checkpoint if self.fetched else None,
                loaded=loaded.loaded if loaded else None,
                load_s=loaded.load_s if loaded else None,
                load_memory=loaded.memory if loaded else None,
                warmups=tuple(draft.warmups),
                samples=tuple(draft.samples),
                audit=draft.audit,
                gpus=self.load.gpus,
                machine=self.machine,
                machine_before=self.before,
                machine_after=machine.observe(self.load.gpus),
                provenance=provenance(loaded.packages if loaded else {}),
            )
        )
        stored = self.store.write(record)
        self.stored.append(stored)
        self.observer.stored(*stored)


def run(loads: Iterable[Load], store: Store, limits: Limits, observer: Observer) -> list[Stored]:
    """Measure `loads` and store a record for each cell, whatever comes of it; returns the stored records in order."""
    stored: list[Stored] = []
    for load in loads:
        rest = load
        while rest.cells:  # after a failed cell the rest starts clean, in a new worker
            session = _Session(rest, store, observer)
            session.measure(limits)
            stored += session.stored
            rest = replace(rest, cells=rest.cells[len(session.stored) :])
    return stored
