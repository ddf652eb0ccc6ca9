"""What a worker measures: it loads once, then warms up and repeats cell after cell."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from speed_benchmark.cell import QUICK_WINDOW_TOKENS, Cell
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import LoadRequest, Request, Running, Sampling, UnsupportedError
from speed_benchmark.errors import UserError
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.machine.pace import measure_pace
from speed_benchmark.models import checkpoint
from speed_benchmark.models.config import text_config
from speed_benchmark.models.sampling import read_sampling
from speed_benchmark.record.sample import Audit, Sample
from speed_benchmark.worker import events
from speed_benchmark.worker.failure import told
from speed_benchmark.worker.pipe import Pipe, Pulse
from speed_benchmark.worker.profile import left_out, profile
from speed_benchmark.worker.prompts import make_prompts, random_prompts
from speed_benchmark.worker.request import measure_request, no_times
from speed_benchmark.worker.versions import versions

# Where nothing is cached, all of so many repeated prompts are faster than as many new ones in 1 of 252 audits.
AUDIT_PAIRS = 5

Window = Literal["start", "end"] | None


def work(job: events.Job, pipe: Pipe) -> None:
    """Do `job`, tell `pipe` what happens, and wait for its go-ahead after each cell."""
    memory = MemoryReader(job.gpus)
    pipe.send(events.Stage(name="import"))
    settings = registry.settings_of(job.cells[0].settings)
    build = settings.building(job.gpus[0]) if job.gpus else None
    if build:
        pipe.send(events.Stage(name="build"))
        build()
    engine = settings.engine()
    pipe.send(events.Stage(name="load"))
    memory.reset()
    started = engine.clock.now()
    with engine.open(_load_request(job)) as running, told(pipe):
        load_s = engine.clock.now() - started
        packages = versions(job.engine)
        pipe.send(events.LoadDone(loaded=running.loaded, load_s=load_s, memory=memory.read(), packages=packages))
        for index, cell in enumerate(job.cells):
            _CellRun(running, job, index, memory, pipe).run(cell)
            pipe.send(events.CellDone(cell=index))
            pipe.wait()
        pipe.send(events.Stage(name="close"))
    pipe.send(events.Closed())


def _load_request(job: events.Job) -> LoadRequest:
    first = job.cells[0]
    return LoadRequest(
        checkpoint_dir=job.checkpoint_dir,
        settings=first.settings,
        max_total_tokens=max(cell.total_tokens for cell in job.cells),
        max_sequences=max(cell.workload.batch_size for cell in job.cells),
        trust_remote_code=first.model.trust_remote_code,
        allow_pickle=first.model.allow_pickle,
        config_overrides=job.config_overrides,
    )


class _CellRun:
    """The requests of one cell, on a loaded model."""

    def __init__(self, running: Running, job: events.Job, index: int, memory: MemoryReader, pipe: Pipe) -> None:
        self._running, self._job, self._index = running, job, index
        self._memory, self._pipe = memory, pipe

    def run(self, cell: Cell) -> None:
        """Warm up, repeat as often as the cell's protocol asks for, then audit and profile where that is asked for."""
        self._stage("prepare")
        folder = Path(self._job.checkpoint_dir)
        vocab_size = _vocab_size(folder)
        kind, whole = _request(cell, folder, vocab_size)
        self._pipe.send(events.Prompted(cell=self._index, kind=kind, sampling=whole.sampling))
        windows: dict[Window, Request] = {None: whole}
        if cell.protocol.quick:
            windows = _windows(cell, whole, folder, vocab_size)
        self._pace()
        for number in range(cell.protocol.warmups):
            self._requests("warmup", windows, number, cell.protocol.warmups)
        self._repeat(cell, windows)
        if cell.protocol.audit:
            self._audit(whole, folder, vocab_size)
        if self._index in self._job.profile:
            self._profile(cell, whole, folder, vocab_size)

    def _pace(self) -> None:
        """How fast the host goes now; a virtual clock has no host."""
        if not self._running.loaded.simulated:
            self._running.clock.synchronize()
            self._pipe.send(events.Paced(cell=self._index, pace=measure_pace()))

    def _repeat(self, cell: Cell, windows: dict[Window, Request]) -> None:
        """As often as asked for; with --precision until the speed is known, or time and number are used up."""
        protocol, clock = cell.protocol, self._running.clock
        most = protocol.max_repeats or protocol.repeats
        until = clock.now() + (protocol.max_seconds or math.inf)
        samples: list[Sample] = []
        for number in range(most):
            if number >= protocol.repeats and (clock.now() >= until or _precise(samples, cell)):
                return
            samples += self._requests("repeat", windows, number, most)
            self._pace()

    def _requests(
        self, stage: Literal["warmup", "repeat"], windows: dict[Window, Request], number: int, count: int
    ) -> list[Sample]:
        """One warm-up or repeat: a request, or with --quick one for each window."""
        self._stage(stage, number, count)
        samples = []
        for window, request in windows.items():
            token_times = no_times(request)
            with Pulse(self._pipe, token_times):
                sample = measure_request(self._running, request, self._memory, token_times)
            sample = sample.model_copy(update={"window": window})
            self._pipe.send(events.Sampled(cell=self._index, warmup=stage == "warmup", sample=sample))
            samples.append(sample)
        return samples

    def _audit(self, whole: Request, folder: Path, vocab_size: int) -> None:
        """Prefill in turn the measured prompts again and prompts never sent before."""
        repeated = whole.model_copy(update={"generate_length": 1, "cache_tokens": whole.total_tokens})
        times_s = []
        for number in range(AUDIT_PAIRS + 1):  # the first pair only warms up for one token
            self._stage("audit", number, AUDIT_PAIRS + 1)
            fresh = repeated.model_copy(update={"prompts": _fresh_prompts(whole, folder, vocab_size, number)})
            times_s.append((self._prefill_s(repeated), self._prefill_s(fresh)))
        repeated_s, distinct_s = zip(*times_s[1:], strict=True)
        audit = Audit(repeated_s=repeated_s, distinct_s=distinct_s)
        self._pipe.send(events.Audited(cell=self._index, audit=audit))

    def _prefill_s(self, request: Request) -> float:
        """Seconds until every sequence has its first token."""
        return measure_request(self._running, request, self._memory, no_times(request)).all_started_s

    def _profile(self, cell: Cell, whole: Request, folder: Path, vocab_size: int) -> None:
        """Trace a window at the start of the output, and one at its end after prompts in place of the rest."""
        if self._running.tracer is None:
            return
        self._stage("profile")
        rest, end = left_out(whole.generate_length), None
        if rest:
            prompts = _prompts(cell, whole.context_length + rest, folder, vocab_size)
            end = whole.model_copy(update={"prompts": prompts, "generate_length": whole.generate_length - rest})
        seen = profile(self._running, whole, end)
        if seen:
            self._pipe.send(events.Profiled(cell=self._index, profile=seen))

    def _stage(
        self, name: Literal["prepare", "warmup", "repeat", "audit", "profile"], number: int = 0, count: int = 1
    ) -> None:
        self._pipe.send(events.Stage(name=name, cell=self._index, index=number + 1, count=count))


def _request(cell: Cell, folder: Path, vocab_size: int) -> tuple[str, Request]:
    """How the prompts of `cell` were made, and its whole request."""
    workload = cell.workload
    kind, prompts = make_prompts(folder, workload.context_length, vocab_size, workload.seed, workload.batch_size)
    return kind, Request(
        prompts=prompts,
        generate_length=workload.generate_length,
        sampling=Sampling() if workload.sampling == "greedy" else _model_sampling(folder),
        seed=workload.seed,
    )


def _windows(cell: Cell, whole: Request, folder: Path, vocab_size: int) -> dict[Window, Request]:
    """Of a quick measurement: the start of the output, and its end after longer prompts in place of the rest."""
    prompts = _prompts(cell, cell.total_tokens - QUICK_WINDOW_TOKENS, folder, vocab_size)
    start = whole.model_copy(update={"generate_length": QUICK_WINDOW_TOKENS, "cache_tokens": cell.total_tokens})
    return {"start": start, "end": start.model_copy(update={"prompts": prompts})}


def _prompts(cell: Cell, length: int, folder: Path, vocab_size: int) -> tuple[tuple[int, ...], ...]:
    """Prompts of another length than the measured ones, made as those are."""
    workload = cell.workload
    return make_prompts(folder, length, vocab_size, workload.seed, workload.batch_size)[1]


def _fresh_prompts(whole: Request, folder: Path, vocab_size: int, number: int) -> tuple[tuple[int, ...], ...]:
    """Prompts of the same length by seeds that no other request of the cell has."""
    sequences = len(whole.prompts)
    seed = whole.seed + (number + 1) * sequences
    return random_prompts(folder, whole.context_length, vocab_size, seed, sequences)


def _precise(samples: Sequence[Sample], cell: Cell) -> bool:
    from speed_benchmark.judge.statistics import precise

    return precise(samples, cell)


def _model_sampling(folder: Path) -> Sampling:
    try:
        return read_sampling(folder)
    except UserError as error:
        raise UnsupportedError(error.cure) from error


def _vocab_size(folder: Path) -> int:
    """How many token ids the model has, by its config.json."""
    try:
        size = text_config(checkpoint.read_json(folder / "config.json")).get("vocab_size")
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    if not isinstance(size, int) or size < 1:
        raise UnsupportedError("config.json names no vocab_size, so that no prompt can be made for this model")
    return size
