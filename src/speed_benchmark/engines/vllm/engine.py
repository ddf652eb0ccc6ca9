"""The engine `vllm`: its `LLM`, whose loop is stepped here so that each token has a time.

Written against the sources of vLLM 0.26 and 0.32.
"""

import gc
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from logging.config import dictConfig
from multiprocessing import active_children
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from speed_benchmark.engines.clock import WallClock
from speed_benchmark.engines.protocol import (
    Clock,
    DeviceWindow,
    Loaded,
    LoadRequest,
    OutOfMemoryError,
    Request,
    Sampling,
    Tracer,
    UnsupportedError,
)
from speed_benchmark.engines.vllm.settings import SPARE_BLOCKS, VllmSettings
from speed_benchmark.models import checkpoint
from speed_benchmark.models.config import Config
from speed_benchmark.models.shapes.asked import ShapeError, shape

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams
    from vllm.v1.engine import EngineCoreOutputs
    from vllm.v1.engine.core_client import EngineCoreClient

ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    # How far the model reaches is checked before the load; 0.32 does not count a YaRN that config.json itself names.
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
}
LOGGING_VARIABLE = "VLLM_LOGGING_CONFIG_PATH"
USER_CHOICES = ("VLLM_DISABLED_KERNELS",)
CPU_BLOCK_TOKENS = 128
ENDED_WITHIN_S = 10.0
# vLLM's own limit of sequences at once is this or more, by the machine.
USUAL_SEQUENCES = 256

OUT_OF_MEMORY_SIGNS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "no available memory for the cache blocks",
    "larger than the available kv cache memory",
    "less than desired gpu memory utilization",
    "less than desired cpu memory utilization",
    "less than requested memory for kv",
)
CORE_FAILED_SIGNS = ("Engine core initialization failed", "EngineCore encountered an issue")
UNSUPPORTED_SIGNS = (
    "not support",
    "unsupported",
    "failed to find a kernel",
    "failed to infer device type",
    "divisible by",
    "no kernel image",
    "does not recognize this architecture",
    "requires x86",
    "there is no module or parameter named",
    "'_opnamespace'",
)


class VllmEngine:
    """vLLM's `LLM`, without a tokenizer and without prefix caching; tensor parallel over the GPUs."""

    def __init__(self) -> None:
        self.clock: Clock = WallClock()

    @contextmanager
    def open(self, load: LoadRequest) -> "Iterator[RunningVllm]":
        """Start vLLM; leaving shuts it down, and its worker processes with it."""
        reasons = tuple(f"{name} is set to {os.environ[name]}" for name in USER_CHOICES if name in os.environ)
        with _errors_noted() as errors:
            with _translate_errors(errors):
                llm = _start(load)
            try:
                running = _running(llm, load, reasons, errors)
                try:
                    yield running
                finally:
                    running.release()
            finally:
                llm.llm_engine.engine_core.shutdown()
                for process in active_children():  # those that vLLM killed have not been waited for
                    process.join(ENDED_WITHIN_S)
                del llm
                gc.collect()


class RunningVllm:
    """A started vLLM; `loaded` is what it shows of itself."""

    def __init__(self, llm: "LLM", loaded: Loaded, gpu_count: int, errors: Path) -> None:
        self.loaded = loaded
        # A token that comes from another process has been waited for there.
        self.clock: Clock = WallClock((0,) if gpu_count == 1 and loaded.engine_core == "inproc" else ())
        self.cached_tokens: int | None = None
        self.tracer: Tracer | None = CoreTracer(llm) if gpu_count else None
        self._llm, self._errors = llm, errors
        self._requests = 0
        self._prompts: list[Any] = []
        self._params: SamplingParams | None = None

    def prepare(self, request: Request) -> None:
        """Make vLLM's own form of the prompts and of the sampling, and seed its generators."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._check_room(request)
        # A seed in the parameters would turn FlashInfer's sampler off, min_tokens would mask logits at every step;
        # users of vLLM pay for neither, and ignore_eos alone makes the number of tokens exact.
        self._params = SamplingParams(
            max_tokens=request.generate_length,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **request.sampling.model_dump(),
        )
        self._prompts = self._llm.renderer.render_cmpl([{"prompt_token_ids": list(ids)} for ids in request.prompts])
        self._llm.collective_rpc("benchmark_seed", args=(request.seed,))

    def generate(self, on_token: Callable[[int], None]) -> Sequence[Sequence[int]]:
        """Step vLLM's loop until all sequences have ended, as `LLM.generate` does."""
        loop = self._llm.llm_engine
        sequences = {str(self._requests + index): index for index in range(len(self._prompts))}
        self._requests += len(sequences)
        ended: dict[int, RequestOutput] = {}
        with _translate_errors(self._errors), _heard(loop.engine_core, sequences, on_token):
            for name, prompt in zip(sequences, self._prompts, strict=True):
                loop.add_request(name, prompt, self._params)
            while loop.has_unfinished_requests():
                ended |= {sequences[output.request_id]: output for output in loop.step()}
        outputs = [ended[index] for index in range(len(sequences))]
        cached = [output.num_cached_tokens for output in outputs]
        self.cached_tokens = None if None in cached else sum(filter(None, cached))
        return [output.outputs[0].token_ids for output in outputs]

    def look_at_logits(self) -> None:
        """Have `loaded` say whether all logits of a prompt of eight tokens are finite."""
        prompt = tuple(range(min(8, (self.loaded.max_model_len or 0) - 1)))
        self._llm.collective_rpc("benchmark_watch_logits")
        self.prepare(Request(prompts=(prompt,), generate_length=1, sampling=Sampling(), seed=0))
        self.generate(lambda _: None)
        seen = [finite for finite in self._llm.collective_rpc("benchmark_finite_logits") if finite is not None]
        self.loaded = self.loaded.model_copy(update={"finite_logits": all(seen) if seen else None})

    def release(self) -> None:
        """Let go of vLLM, whoever still holds this object."""
        del self._llm, self._prompts, self.tracer

    def _check_room(self, request: Request) -> None:
        """Raise OutOfMemoryError where the cache can't hold all sequences at once: vLLM would make some wait."""
        sequences, total, loaded = len(request.prompts), request.total_tokens, self.loaded
        longest = loaded.max_model_len or 0
        if total > longest:
            raise OutOfMemoryError(f"{total} tokens, and vLLM has room for {longest}")
        block_tokens = loaded.kv_cache_block_tokens or longest  # where kinds of layers share blocks, in whole sequences
        blocks = (loaded.kv_cache_capacity_tokens or 0) // block_tokens - loaded.kv_cache_spare_blocks
        if sequences * -(-total // block_tokens) > blocks:
            asked = f"{total} tokens" if sequences == 1 else f"{sequences} sequences of {total} tokens"
            raise OutOfMemoryError(f"{asked}, and vLLM has room for {blocks * block_tokens} in all")


class CoreTracer:
    """Has every worker of vLLM trace its device, between two steps of the core."""

    def __init__(self, llm: "LLM") -> None:
        self._llm = llm

    def start(self) -> None:
        """Begin."""
        self._llm.collective_rpc("benchmark_trace")

    def stop(self, tokens: int) -> DeviceWindow:
        """What the first worker saw."""
        first, *_ = self._llm.collective_rpc("benchmark_traced", args=(tokens,))
        return DeviceWindow.model_validate(first)


@contextmanager
def _heard(core: "EngineCoreClient", sequences: Mapping[str, int], on_token: Callable[[int], None]) -> Iterator[None]:
    """Call `on_token` for each token that comes out of vLLM's core, by the names of the `sequences`.

    The core hands over the tokens of each step; outputs made of them for every token would cost a batch time that
    `LLM.generate`, which makes them once at the end, does not take. The core's own names go on after a hyphen.
    """
    get_output = core.get_output

    def get_and_tell() -> "EngineCoreOutputs":
        step = get_output()
        for output in step.outputs:
            sequence = sequences[output.request_id.partition("-")[0]]
            for _ in output.new_token_ids:
                on_token(sequence)
        return step

    core.get_output = get_and_tell
    try:
        yield
    finally:
        del core.get_output  # the class's own is there again


def _start(load: LoadRequest) -> "LLM":
    settings, options = load.settings, VllmSettings.of(load.settings)
    separate = options.engine_core == "process"
    os.environ.update(ENVIRONMENT, VLLM_ENABLE_V1_MULTIPROCESSING=str(int(separate)))
    from vllm import LLM
    from vllm.platforms import current_platform

    from speed_benchmark.engines.vllm.model import EXTENSION

    if current_platform.is_cpu() == bool(settings.gpu_count):
        raise UnsupportedError("this build of vLLM is for " + ("the CPU" if settings.gpu_count else "GPUs"))
    return LLM(
        model=load.checkpoint_dir,
        skip_tokenizer_init=True,
        load_format="auto" if load.allow_pickle else "safetensors",
        trust_remote_code=load.trust_remote_code,
        hf_overrides=load.config_overrides,
        dtype=settings.dtype,
        tensor_parallel_size=settings.gpu_count or 1,
        max_model_len=options.max_model_len,
        worker_extension_cls=EXTENSION,
        max_num_seqs=None if load.max_sequences <= USUAL_SEQUENCES else load.max_sequences,
        enable_prefix_caching=False,
        gpu_memory_utilization=options.gpu_memory_utilization,
        kv_cache_dtype=options.kv_cache_dtype,
        kv_cache_memory_bytes=None if settings.gpu_count else _cpu_cache_bytes(load),
        enforce_eager=options.enforce_eager,
    )


def _running(llm: "LLM", load: LoadRequest, reasons: tuple[str, ...], errors: Path) -> RunningVllm:
    from speed_benchmark.engines.vllm import model as vllm_model

    declared = checkpoint.quantization_of(checkpoint.read_json(Path(load.checkpoint_dir) / "config.json"))
    with _translate_errors(errors):
        loaded = vllm_model.read_back(llm, declared, reasons)
    running = RunningVllm(llm, loaded, load.settings.gpu_count, errors)
    running.look_at_logits()
    return running


def _cpu_cache_bytes(load: LoadRequest) -> int | None:
    """Room for all sequences, and for one of `max_model_len` tokens, the least that vLLM starts with.

    Left to itself, it takes a share of all memory for its cache on the CPU; so it does for a model of unknown shape.
    Layers of several kinds share blocks as large as the largest needs, some of which are padding: that is room for as
    many layers as there are with the most that one of them keeps, twice.
    """
    config = checkpoint.read_json(Path(load.checkpoint_dir) / "config.json")
    try:
        forward = shape(config).forward
    except ShapeError:
        return None
    if forward is None:
        return None
    options = VllmSettings.of(load.settings)
    value_bytes = options.cache_value_bytes(_value_bytes(load, config))
    tokens = {layers: layers.values_per_token * value_bytes for layers in forward.layers}
    blocks = max(load.max_sequences * _blocks(load.max_total_tokens), _blocks(options.max_model_len)) + SPARE_BLOCKS
    if all(layers.kind == "full" for layers in forward.layers):
        return blocks * CPU_BLOCK_TOKENS * sum(layers.count * size for layers, size in tokens.items())
    states = max(layers.state_bytes for layers in forward.layers)
    largest = blocks * CPU_BLOCK_TOKENS * max(tokens.values()) + (load.max_sequences + SPARE_BLOCKS) * states
    return 2 * largest * sum(layers.count for layers in forward.layers)


def _value_bytes(load: LoadRequest, config: Config) -> int:
    asked = load.settings.dtype
    return checkpoint.VALUE_BYTES[checkpoint.dtype_of(config) if asked == "auto" else asked]


def _blocks(tokens: int) -> int:
    return -(-tokens // CPU_BLOCK_TOKENS)


@contextmanager
def _errors_noted() -> Iterator[Path]:
    """A file with the errors that vLLM logs, in whatever process.

    What goes wrong in a process of the core's is said there alone: here it is known only that it ended.
    """
    with TemporaryDirectory(prefix="speed_benchmark_") as folder:
        errors, config_file = Path(folder) / "errors", Path(folder) / "logging.json"
        chosen = os.environ.get(LOGGING_VARIABLE)
        config_file.write_text(json.dumps(_logging_config(chosen, errors)))
        os.environ[LOGGING_VARIABLE] = str(config_file)  # read where vLLM is imported, in each process
        try:
            yield errors
        finally:
            del os.environ[LOGGING_VARIABLE]
            os.environ |= {LOGGING_VARIABLE: chosen} if chosen else {}


def _logging_config(chosen: str | None, errors: Path) -> dict[str, Any]:
    """VLLM's configuration of its logger, or the one that the user has `chosen`, with a file beside for errors."""
    if chosen:
        config: dict[str, Any] = json.loads(Path(chosen).read_text(encoding="utf-8"))
    else:
        from vllm.logger import DEFAULT_LOGGING_CONFIG

        config = deepcopy(DEFAULT_LOGGING_CONFIG)
    noted = {"class": "logging.FileHandler", "level": "ERROR", "filename": str(errors), "delay": True}
    config.setdefault("handlers", {})["errors"] = noted
    config.setdefault("loggers", {}).setdefault("vllm", {}).setdefault("handlers", []).append("errors")
    dictConfig(config)
    return config


def _root_cause(lines: Sequence[str]) -> str:
    """What the core's processes logged of memory or support; else the last line, which repeats the first."""
    signs = (*OUT_OF_MEMORY_SIGNS, *UNSUPPORTED_SIGNS)
    return next((line for line in reversed(lines) if any(sign in line.lower() for sign in signs)), lines[-1])


@contextmanager
def _translate_errors(errors: Path | None = None) -> Iterator[None]:
    """Turn vLLM's ways of saying that memory or support is lacking into the protocol's errors, in one line.

    `errors` is the file of what the core's process said last.
    """
    try:
        yield
    except Exception as error:
        text = str(error)
        if errors is not None and errors.exists() and any(sign in text for sign in CORE_FAILED_SIGNS):
            text = _root_cause(errors.read_text(errors="replace").splitlines())
        text = " ".join(text.partition(" [type=")[0].split())
        if isinstance(error, MemoryError) or any(sign in text.lower() for sign in OUT_OF_MEMORY_SIGNS):
            raise OutOfMemoryError(text) from error
        if isinstance(error, NotImplementedError) or any(sign in text.lower() for sign in UNSUPPORTED_SIGNS):
            raise UnsupportedError(text) from error
        raise
