"""The engine `transformers`: Hugging Face transformers, with GPTQModel for quantised weights."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed_benchmark.engines.clock import WallClock
from speed_benchmark.engines.protocol import (
    Clock,
    Loaded,
    LoadRequest,
    OutOfMemoryError,
    Request,
    Tracer,
    UnsupportedError,
)
from speed_benchmark.engines.trace import DeviceTrace
from speed_benchmark.engines.transformers.settings import TransformersSettings

if TYPE_CHECKING:
    import torch
    from transformers import CompileConfig, GenerationConfig, PreTrainedModel, StaticCache

    from speed_benchmark.engines.transformers.stopping import IgnoredEndOfSequence


class TransformersEngine:
    """Runs models by `generate()` of transformers, on the CPU or on one or several GPUs."""

    def __init__(self) -> None:
        self.clock: Clock = WallClock()

    @contextmanager
    def open(self, load: LoadRequest) -> "Iterator[RunningTransformers]":
        """Load the model, with another kernel where the usual one can't be had."""
        import torch

        from speed_benchmark.engines.transformers import model as transformers_model

        gpu_count = load.settings.gpu_count
        if gpu_count > torch.cuda.device_count():
            raise UnsupportedError(f"{gpu_count} GPUs are asked for, but PyTorch sees {torch.cuda.device_count()}")
        try:
            running = _load(load)
            try:
                yield running
            finally:
                running.release()
        finally:
            torch.compiler.reset()
            transformers_model.free_memory()


class RunningTransformers:
    """A loaded model; `loaded` is what it shows of itself.

    `end_of_sequence` is looked for as the model's users have it, None where the model names none.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        loaded: Loaded,
        compile_config: "CompileConfig | None",
        end_of_sequence: "IgnoredEndOfSequence | None",
    ) -> None:
        import torch

        self.loaded = loaded
        devices = _cuda_devices(model)
        self.clock: Clock = WallClock(devices)
        self.tracer: Tracer | None = DeviceTrace(torch) if devices else None
        self.cached_tokens: int | None = 0
        self._model = model
        self._compile_config = compile_config
        self._end_of_sequence = end_of_sequence
        self._static_cache: StaticCache | None = None
        self._static_cache_shape = (0, 0)
        self._arguments: dict[str, Any] = {}

    def prepare(self, request: Request) -> None:
        """Put the prompts on the device; with compilation, have the static cache there, and empty."""
        import torch
        from transformers import StoppingCriteriaList

        with _memory_errors():
            prompts = torch.tensor(request.prompts, device=self._model.device)
            self._arguments = {
                "inputs": prompts,
                "attention_mask": torch.ones_like(prompts),
                "generation_config": self._generation_config(request),
                "stopping_criteria": StoppingCriteriaList(filter(None, [self._end_of_sequence])),
            }
            if self._compile_config is not None:
                self._arguments["past_key_values"] = self._empty_cache(len(request.prompts), request.total_tokens)
        torch.manual_seed(request.seed)

    def generate(self, on_token: Callable[[int], None]) -> Sequence[Sequence[int]]:
        """Run the prepared request through `generate()`."""
        with _memory_errors():
            ids = self._model.generate(**self._arguments, streamer=_Streamer(on_token))
        outputs: list[list[int]] = ids[:, self._arguments["inputs"].shape[1] :].tolist()
        if self._compile_config is not None and len(outputs[0]) > 1:
            _require_compiled(self._compile_config)
        return outputs

    def release(self) -> None:
        """Let go of the model and its tensors, whoever still holds this object."""
        del self._model, self._static_cache, self._arguments

    def _generation_config(self, request: Request) -> "GenerationConfig":
        """Exactly the request: without an `eos_token_id` here nothing but the number of tokens ends it."""
        from transformers import GenerationConfig

        sampling = request.sampling
        sampled = sampling.temperature > 0
        choice = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        return GenerationConfig(
            max_new_tokens=request.generate_length,
            do_sample=sampled,
            repetition_penalty=sampling.repetition_penalty,
            pad_token_id=self._end_of_sequence.pad_token_id if self._end_of_sequence else None,
            use_cache=True,
            compile_config=self._compile_config,
            **(choice if sampled else {}),
        )

    def _empty_cache(self, sequences: int, total_tokens: int) -> "StaticCache":
        """A cache of just the request's shape. Repeats share its memory, whose address CUDA graphs hold."""
        import torch
        from torch._dynamo.utils import counters
        from transformers import StaticCache

        if self._static_cache is not None and self._static_cache_shape == (sequences, total_tokens):
            self._static_cache.reset()
        else:
            # Each shape is compiled for itself; beside the graphs of another it would get dynamic shapes.
            self._static_cache = None
            torch.compiler.reset()
            counters.clear()
            # It takes the number of sequences from the first request.
            self._static_cache = StaticCache(config=self._model.config, max_cache_len=total_tokens)
            self._static_cache_shape = (sequences, total_tokens)
        return self._static_cache


class _Streamer:
    """Hears of the tokens as `generate()` hands them to the host."""

    def __init__(self, on_token: Callable[[int], None]) -> None:
        self._on_token = on_token

    def put(self, token_ids: "torch.Tensor") -> None:
        """Take the prompts, of shape [sequences, tokens], or one new token of each sequence, of shape [sequences]."""
        if token_ids.dim() == 1:
            for sequence in range(len(token_ids)):
                self._on_token(sequence)

    def end(self) -> None:
        """Nothing is held back."""


def _load(load: LoadRequest) -> RunningTransformers:
    from transformers import GenerationConfig

    from speed_benchmark.engines.transformers import model as transformers_model
    from speed_benchmark.engines.transformers.stopping import IgnoredEndOfSequence

    with _memory_errors():
        model, reasons = transformers_model.load(load)
    usual = model.generation_config
    end_of_sequence = IgnoredEndOfSequence(usual) if usual.eos_token_id is not None else None
    # generate() fills from it what a request leaves open.
    model.generation_config = GenerationConfig()
    execution, compile_config = "eager", None
    if TransformersSettings.of(load.settings).compile:
        compile_config = _compile_config(model, cuda_graphs=load.settings.gpu_count == 1)
        execution = "compiled+cuda_graphs" if load.settings.gpu_count == 1 else "compiled"
    with _memory_errors():
        loaded = transformers_model.read_back(model, _declared(load), execution, reasons)
    return RunningTransformers(model, loaded, compile_config, end_of_sequence)


def _declared(load: LoadRequest) -> str:
    """How the checkpoint calls the format of its weights."""
    from speed_benchmark.models import checkpoint

    return checkpoint.quantization_of(checkpoint.read_json(Path(load.checkpoint_dir) / "config.json"))


def _cuda_devices(model: "PreTrainedModel") -> list[int]:
    devices = {parameter.device for parameter in model.parameters()}
    return sorted(device.index for device in devices if device.type == "cuda")


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn the ways in which PyTorch says that memory is lacking into the protocol's error, in one line."""
    from speed_benchmark.engines.transformers.model import is_out_of_memory

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).partition("\n")[0]
        raise OutOfMemoryError(said.partition(" If reserved but")[0]) from error  # without PyTorch's advice


def _compile_config(model: "PreTrainedModel", *, cuda_graphs: bool) -> "CompileConfig":
    from transformers import CompileConfig

    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and not quantizer.is_compileable:
        method = quantizer.quantization_config.quant_method
        raise UnsupportedError(f"transformers compiles no model quantised by {method}; leave --compile out")
    config = CompileConfig(dynamic=False, mode="reduce-overhead" if cuda_graphs else "default")
    # Otherwise generate() compiles on GPUs only.
    config._compile_all_devices = True
    return config


def _require_compiled(config: "CompileConfig") -> None:
    from torch._dynamo.utils import counters

    if not counters["stats"]["unique_graphs"]:
        raise UnsupportedError("transformers did not compile this model")
    if config.mode == "reduce-overhead" and counters["inductor"]["cudagraph_skips"]:
        raise UnsupportedError("PyTorch could not put the compiled model into CUDA graphs")
