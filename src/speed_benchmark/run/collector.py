"""From what workers say of the cells of a load group to records: no process, no file and no clock is touched here."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from speed_benchmark.cell import Cell
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.engine import Sampling
from speed_benchmark.record.machine import Colocation, DevicePeaks, Machine, MachineState, Pace
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.record import Checkpoint, Profile, Provenance, Record
from speed_benchmark.record.sample import Audit, Sample
from speed_benchmark.worker import events


class ProtocolError(Exception):
    """A worker said what it can't have to say: of a cell whose turn is over or has not come, or its end too early."""


@dataclass(frozen=True)
class Surroundings:
    """What a record says beside what its workers said; `after` is the machine now."""

    machine: Machine
    after: MachineState
    provenance: Provenance
    gpus: tuple[int, ...] = ()
    checkpoint: Checkpoint | None = None
    config_overrides: Mapping[str, Any] = field(default_factory=dict)
    busy: tuple[str, ...] = ()
    token_cost: TokenCost | None = None
    device_peaks: DevicePeaks | None = None
    colocation: Colocation | None = None


@dataclass(eq=False)
class Draft:
    """What has come in for one cell so far, from all its worker processes; `finished` of them went through it.

    `before` is the machine just before the first of them, `loaded` what the last of them loaded, `key` names the draft.
    """

    cell: Cell
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    finished: int = 0
    before: MachineState | None = None
    loaded: events.LoadDone | None = None
    prompt: str | None = None
    sampling: Sampling | None = None
    warmups: list[Sample] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    host_paces: list[Pace] = field(default_factory=list)
    audit: Audit | None = None
    profile: Profile | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all processes that its protocol asks for went through it."""
        return self.finished >= self.cell.protocol.processes

    def record(self, outcome: Outcome, cause: Cause | None, surroundings: Surroundings) -> Record:
        """The record that it makes now."""
        loaded = self.loaded
        return Record(
            cell_id=self.cell.cell_id,
            cell=self.cell,
            created_at=datetime.fromtimestamp(surroundings.after.unix_s, UTC).isoformat(timespec="seconds"),
            outcome=outcome,
            cause=cause,
            prompt=self.prompt,
            sampling=self.sampling,
            config_overrides=dict(surroundings.config_overrides) if loaded else {},
            checkpoint=surroundings.checkpoint,
            loaded=loaded.loaded if loaded else None,
            load_s=loaded.load_s if loaded else None,
            load_memory=loaded.memory if loaded else None,
            warmups=tuple(self.warmups),
            samples=tuple(self.samples),
            audit=self.audit,
            busy=surroundings.busy,
            token_cost=surroundings.token_cost,
            device_peaks=surroundings.device_peaks if loaded else None,
            profile=self.profile,
            gpus=surroundings.gpus,
            colocation=surroundings.colocation,
            machine=surroundings.machine,
            machine_before=self.before or surroundings.after,
            machine_after=surroundings.after,
            host_paces=tuple(self.host_paces),
            provenance=surroundings.provenance,
        )

    def interrupted(self, surroundings: Surroundings) -> Record:
        """The record of what is finished of it, where the rest does not come: no result, but nothing is lost."""
        cause = Cause(message=f"interrupted after {len(self.samples)} requests")
        return self.record(Outcome.INTERRUPTED, cause, surroundings)


class Collector:
    """The drafts of a load group's cells until each has its record, filled by one worker after another.

    `drafts` are those without a record; `queue` those that the running worker has still to do, in its order; `stage`
    is what it is doing.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.drafts = [Draft(cell) for cell in cells]
        self.queue: list[Draft] = []
        self.stage = ""
        self._job: tuple[Draft, ...] = ()
        self._is_loaded = False

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that have no record yet."""
        return tuple(draft.cell for draft in self.drafts)

    @property
    def current(self) -> Draft:
        """The draft that the running worker is at, the last one once it has done them all."""
        return self.queue[0] if self.queue else self._job[-1]

    @property
    def concerned(self) -> list[Draft]:
        """Whom it concerns when the running worker fails: a load that fails fails all, a request its own cell."""
        return self.queue[:1] if self._is_loaded else list(self.queue)

    def begin(self, drafts: Sequence[Draft], before: MachineState) -> None:
        """A new worker is about to start on the cells of `drafts`, the machine being as `before` says."""
        self._job, self.queue = tuple(drafts), list(drafts)
        self.stage, self._is_loaded = "", False
        for draft in drafts:
            if not draft.samples:
                draft.before = before

    def take(self, event: events.Event) -> Draft | None:
        """Note what the worker says; returns the draft that it has gone through with that.

        Raises ProtocolError for what can't be said now.
        """
        self._check(event)
        match event:
            case events.Stage():
                self.stage = event.name
            case events.LoadDone():
                self._is_loaded = True
                for draft in self.queue:
                    draft.loaded = event
            case events.Prompted():
                self.current.prompt, self.current.sampling = event.kind, event.sampling
            case events.Paced():
                draft = self.current
                draft.host_paces.append(event.pace.model_copy(update={"process": draft.finished}))
            case events.Sampled():
                self._add(event)
            case events.Audited():
                self.current.audit = event.audit
            case events.Profiled():
                self.current.profile = event.profile
            case events.CellDone():
                return self.finish()
        return None

    def finish(self) -> Draft:
        """The worker has gone through the first draft of the queue."""
        draft = self.queue.pop(0)
        draft.finished += 1
        self.stage = ""
        return draft

    def remove(self, draft: Draft) -> None:
        """It has its record, and lets go of what is in that: the job knows its drafts as long as the worker runs."""
        self.drafts = [one for one in self.drafts if one is not draft]
        self.queue = [one for one in self.queue if one is not draft]
        draft.warmups, draft.samples = [], []

    def _add(self, event: events.Sampled) -> None:
        draft = self.current
        sample = event.sample.model_copy(update={"process": draft.finished})
        (draft.warmups if event.warmup else draft.samples).append(sample)

    def _check(self, event: events.Event) -> None:
        """An event of a cell must be of the queue's first, once the model is loaded; the end comes when all is done."""
        cell = getattr(event, "cell", None)
        if cell is not None and (not self.queue or self._job[cell : cell + 1] != (self.queue[0],)):
            raise ProtocolError(f"cell {cell} is not the one whose turn it is")
        if cell is not None and not self._is_loaded:
            raise ProtocolError("nothing is loaded")
        if isinstance(event, events.Closed) and self.queue:
            raise ProtocolError("cells are missing")
