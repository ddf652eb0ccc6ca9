"""The workers of one load group: have the weights, start one worker after another, end them, free the GPUs."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from speed_benchmark.engines import registry
from speed_benchmark.errors import UserError
from speed_benchmark.machine import describe, idle, nvml, peaks
from speed_benchmark.machine.readings import Sampler
from speed_benchmark.models import rope
from speed_benchmark.models.cost import token_cost
from speed_benchmark.models.hub.download import FetchError
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.source import Fetched, fetch
from speed_benchmark.record.machine import Colocation, DevicePeaks
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.record import Profile, Record
from speed_benchmark.record.store import Store, StoreError
from speed_benchmark.run import known
from speed_benchmark.run.collector import Collector, Draft, ProtocolError, Surroundings
from speed_benchmark.run.environment import worker_environment
from speed_benchmark.run.interrupt import Interrupt
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.observer import Observer
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.process import Worker, WorkerEndedError
from speed_benchmark.run.provenance import installed, provenance
from speed_benchmark.run.recorder import Recorder
from speed_benchmark.run.skips import after_shorter
from speed_benchmark.worker import events

# A GPU's memory counts as free again once so little more is taken than before.
_FREED_BYTES = 256 * 2**20
_FREED_WITHIN_S = 30.0
# What ends a worker where everything is being ended; the parent may be told a moment later than its worker.
_ENDING_SIGNALS = ("SIGHUP", "SIGINT", "SIGKILL", "SIGTERM")
_TOLD_WITHIN_S = 1.0


@dataclass(frozen=True)
class Context:
    """What all sessions of a sweep share."""

    store: Store
    recorder: Recorder
    policy: Policy
    limits: Limits
    observer: Observer
    interrupt: Interrupt


class Session:
    """The owner of a load group's worker processes, which follow one another until each cell has its record.

    `beside` is how many other sessions ran at the same time, at most.
    """

    def __init__(self, group: LoadGroup, context: Context, cores: tuple[int, ...] = ()) -> None:
        self.beside = 0
        self.collector = Collector(group.cells)
        self._gpus, self._context, self._cores = group.gpus, context, cores
        self._settings = group.cells[0].settings
        self._traits = registry.settings_class(self._settings.engine).traits
        self._environment = worker_environment(group.gpus, self._traits.environment)
        self._machine = describe.describe(group.gpus)
        self._fetched: Fetched | None = None
        self._shape: Shape | None = None
        self._busy: tuple[str, ...] = ()
        self._peaks: DevicePeaks | None = None

    def measure(self) -> None:
        """Measure all cells of the group; whatever ends that early, what is finished of them is stored."""
        refusals: list[StoreError] = []
        try:
            fetched = self._fetch()
            while fetched and self.collector.drafts and not self._context.interrupt.soon:
                self._context.store.check_room()
                self._run_worker(fetched, self._loadable(fetched))
        except StoreError as error:
            refusals.append(error)
        finally:
            refusals += self._store_interrupted()
            if refusals:
                raise joined(refusals)

    def store_record(self, draft: Draft, outcome: Outcome, cause: Cause | None = None) -> None:
        """The cell of `draft` is done, one way or another."""
        self._store(draft, draft.record(outcome, cause, self._surroundings(draft)))

    def _store(self, draft: Draft, record: Record) -> None:
        """Store what is the record of `draft`; where the store refuses it, it is told where that kept it."""
        self.collector.remove(draft)
        self._context.recorder.store(record, draft.key)

    def _store_interrupted(self) -> Iterator[StoreError]:
        """Store what is finished of cells that are not, where a stop was asked for; yields what the store refused."""
        for draft in self.collector.drafts:
            if draft.samples:
                try:
                    self._store(draft, draft.interrupted(self._surroundings(draft)))
                except StoreError as error:
                    yield error

    def _store_failure(self, drafts: Sequence[Draft], outcome: Outcome, cause: Cause) -> None:
        """The cells of `drafts` have failed; what is longer than one that ran out of memory need not be tried."""
        for draft in drafts:
            self.store_record(draft, outcome, cause)
        if outcome is Outcome.OOM and drafts and not self._context.policy.no_skip:
            untried = [draft for draft in self.collector.drafts if not draft.samples]
            for draft, reason in after_shorter(untried, [draft.cell for draft in drafts]):
                self.store_record(draft, Outcome.SKIPPED, reason)

    def _fetch(self) -> Fetched | None:
        """Have the weights; cells that are longer than the model reaches get their records."""
        try:
            with self._context.interrupt.abrupt():
                fetched = fetch(self.collector.cells[0].model, self._context.observer.fetching)
                self._shape = known.shape_of(fetched.config)
        except (FetchError, UserError) as error:
            self._store_failure(self.collector.drafts, Outcome.REFUSED, Cause(message=str(error), stage="fetch"))
            return None
        self._fetched = fetched
        for draft in self.collector.drafts:
            try:
                rope.config_overrides(fetched.config, draft.cell.total_tokens)
            except ValueError as error:
                self.store_record(draft, Outcome.TOO_LONG, Cause(message=str(error), stage="fetch"))
        return fetched

    def _loadable(self, fetched: Fetched) -> list[Draft]:
        """The drafts that one load will do for: those with the first one's rope settings."""
        drafts = self.collector.drafts
        overrides = [rope.config_overrides(fetched.config, draft.cell.total_tokens) for draft in drafts]
        return [draft for draft, keys in zip(drafts, overrides, strict=True) if keys == overrides[0]]

    def _run_worker(self, fetched: Fetched, drafts: Sequence[Draft]) -> None:
        """One worker, for one more process of each of `drafts`."""
        if not self._wait_until_idle(drafts):
            return
        job, used_bytes = self._job(fetched, drafts), nvml.used_memory_bytes(self._gpus)
        with ExitStack() as ends:
            ends.callback(
                _wait_until, lambda: self._context.interrupt.soon or self._is_free(used_bytes), _FREED_WITHIN_S
            )
            sampler = Sampler(self._gpus, self._environment)
            ends.callback(sampler.end)
            self.collector.begin(drafts, describe.observe(self._gpus))
            worker = Worker(job, self._context.limits, self._environment)
            ends.callback(worker.end)
            try:
                self._follow(worker, sampler)
            except WorkerEndedError as ended:
                self._worker_failed(ended)

    def _job(self, fetched: Fetched, drafts: Sequence[Draft]) -> events.Job:
        """The job for `drafts`; a pass under the profiler, where it can be, only in the last process of each."""
        profiled = not self._context.limits.no_profile
        last = [draft.finished + 1 == draft.cell.protocol.processes for draft in drafts]
        return events.Job(
            engine=self._settings.engine,
            checkpoint_dir=str(fetched.folder),
            config_overrides=rope.config_overrides(fetched.config, max(draft.cell.total_tokens for draft in drafts)),
            cells=tuple(draft.cell for draft in drafts),
            gpus=self._gpus,
            cores=self._cores,
            profile=tuple(index for index, is_last in enumerate(last) if is_last) if profiled else (),
        )

    def _follow(self, worker: Worker, sampler: Sampler) -> None:
        """Take in what the worker says until it has closed or a stop is asked for."""
        for event in worker.events():
            if self._stops(event):
                if self._is_measured(event):
                    self.store_record(self.collector.current, Outcome.OK)
                return
            if event is not None:
                self._take(worker, sampler, event)

    def _stops(self, event: events.Event | None) -> bool:
        """Whether to stop before `event` is taken in: at once, or where no repeat is running."""
        if isinstance(event, events.CellDone):
            return False  # it is whole, and stored before the next event comes
        interrupt, repeating = self._context.interrupt, self.collector.stage == "repeat"
        return interrupt.now or (interrupt.soon and (not repeating or isinstance(event, events.Stage)))

    def _is_measured(self, event: events.Event | None) -> bool:
        """Whether only the pass under the profiler is missing of the current cell."""
        return self.collector.stage == "profile" or (isinstance(event, events.Stage) and event.name == "profile")

    def _take(self, worker: Worker, sampler: Sampler, event: events.Event) -> None:
        """Collect one event; the worker waits after each cell until what it measured is on disk."""
        if isinstance(event, events.Sampled) and not event.warmup:
            sample = event.sample.model_copy(update={"readings": sampler.readings(event.sample)})
            event = event.model_copy(update={"sample": sample})
        cell = self.collector.current.cell
        try:
            ended = self.collector.take(event)
        except ProtocolError as error:
            raise worker.protocol_error(event, error) from None
        self._context.observer.happened(cell, event)
        if ended is not None:
            self._store_process(ended)
            worker.go_on()

    def _store_process(self, draft: Draft) -> None:
        """One more process of its cell is finished."""
        if draft.is_whole:
            self.store_record(draft, Outcome.OK)
            return
        self._context.recorder.store_part(draft.interrupted(self._surroundings(draft)), draft.key)

    def _worker_failed(self, ended: WorkerEndedError) -> None:
        """The worker did not get to its end; other cells keep what they have, and the next worker goes on with them."""
        if self.collector.stage == "profile":  # all that counts was measured before
            self.collector.current.profile = Profile(error=ended.cause.message)
            self.store_record(self.collector.current, Outcome.OK)
            return
        if not self._is_stopped(ended):
            self._store_failure(self.collector.concerned, ended.outcome, ended.cause)

    def _is_stopped(self, ended: WorkerEndedError) -> bool:
        """Whether the worker ended because everything is being ended, as a scheduler does: then no cell has failed."""
        interrupt, by_signal = self._context.interrupt, ended.cause.signal in _ENDING_SIGNALS
        if ended.outcome is not Outcome.CRASHED:
            return False
        if by_signal:
            _wait_until(lambda: interrupt.soon, _TOLD_WITHIN_S)
        return interrupt.now or (interrupt.soon and by_signal)

    def _wait_until_idle(self, drafts: Sequence[Draft]) -> bool:
        """Whether a worker for `drafts` may start: nobody else uses the GPUs, or that is allowed.

        Then also measure what the device can do at best, where nobody did on this machine.
        """
        limits, interrupt = self._context.limits, self._context.interrupt
        with interrupt.abrupt():
            busy = idle.wait(self._gpus, limits.wait_idle, lambda: interrupt.soon)
            self._busy = self._busy or busy
            if interrupt.soon:
                return False
            if not busy or limits.allow_busy:
                if self._peaks is None and self._traits.requires:
                    self._peaks = peaks.measured(self._gpus, self._environment, keep=not busy)
                return True
        cure = "--wait_idle SECONDS waits for others to end, --allow_busy measures beside them"
        self._store_failure(drafts, Outcome.REFUSED, Cause(message=f"{'; '.join(busy)}; {cure}", stage="idle"))
        return False

    def _is_free(self, before_bytes: int | None) -> bool:
        """Whether the driver took back what a dead process had; the next record says what was taken before it began."""
        now_bytes = nvml.used_memory_bytes(self._gpus)
        return before_bytes is None or now_bytes is None or now_bytes <= before_bytes + _FREED_BYTES

    def _surroundings(self, draft: Draft) -> Surroundings:
        """What the record of `draft` says beside what its workers said."""
        fetched, loaded = self._fetched, draft.loaded
        packages = loaded.packages if loaded else installed(self._traits.packages)
        surroundings = Surroundings(
            machine=self._machine,
            after=describe.observe(self._gpus),
            provenance=provenance(packages, self._traits.environment),
            gpus=self._gpus,
            checkpoint=fetched.checkpoint if fetched else None,
            busy=self._busy,
            device_peaks=self._peaks,
            colocation=Colocation(workers_beside=self.beside, cores=len(self._cores)) if self.beside else None,
        )
        if fetched is None or loaded is None:
            return surroundings
        shape = self._shape
        return replace(
            surroundings,
            config_overrides=rope.config_overrides(fetched.config, draft.cell.total_tokens),
            token_cost=token_cost(shape, draft.cell.settings, loaded.loaded, self._traits.split) if shape else None,
        )


def joined(refusals: Sequence[StoreError]) -> StoreError:
    """What a store refused, as one error."""
    return StoreError("; ".join(dict.fromkeys(map(str, refusals))))


def _wait_until(ready: Callable[[], bool], within_s: float) -> None:
    """Give something that is about to be a little time; it may not be."""
    give_up = time.monotonic() + within_s
    while not ready() and time.monotonic() < give_up:
        time.sleep(0.1)
