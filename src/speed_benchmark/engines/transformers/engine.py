"""The engine `transformers`: Hugging Face transformers, with GPTQModel for quantised weights."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from speed_benchmark.engines.clock import WallClock
from speed_benchmark.engines.protocol import Clock, Load, Loaded, OutOfMemoryError, Request, UnsupportedError

if TYPE_CHECKING:
    import torch
    from transformers import CompileConfig, GenerationConfig, PreTrainedModel, StaticCache


class TransformersEngine:
    """Runs a model by `generate()` of transformers, batch size 1, on the CPU or on one or several GPUs."""

    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers", "accelerate")

    def __init__(self) -> None:
        self.clock: Clock = WallClock()
        self.cached_tokens: int | None = 0
        self._model: PreTrainedModel | None = None
        self._compile_config: CompileConfig | None = None
        self._static_cache: StaticCache | None = None
        self._arguments: dict[str, Any] = {}

    def load(self, load: Load) -> Loaded:
        """Load the model, with another kernel where the usual one can't be had."""
        import torch
        from transformers import GenerationConfig

        from speed_benchmark.engines.transformers import model as transformers_model

        gpu_count = load.settings.gpu_count
        if gpu_count > torch.cuda.device_count():
            raise UnsupportedError(f"{gpu_count} GPUs are asked for, but PyTorch sees {torch.cuda.device_count()}")
        with _memory_errors():
            self._model, reasons = transformers_model.load(load)
        # generate() fills from it what a request leaves open.
        self._model.generation_config = GenerationConfig()
        devices = {parameter.device for parameter in self._model.parameters()}
        self.clock = WallClock(sorted(device.index for device in devices if device.type == "cuda"))
        execution = "eager"
        if load.settings.compile:
            self._compile_config = _compile_config(self._model, cuda_graphs=gpu_count == 1)
            execution = "compiled+cuda_graphs" if gpu_count == 1 else "compiled"
        return transformers_model.read_back(self._model, execution, reasons)

    def prepare(self, request: Request) -> None:
        """Put the prompt on the device; with compilation, have the static cache there, and empty."""
        import torch

        assert self._model is not None  # noqa: S101 - load comes first
        with _memory_errors():
            prompt = torch.tensor([request.prompt_token_ids], device=self._model.device)
            self._arguments = {
                "inputs": prompt,
                "attention_mask": torch.ones_like(prompt),
                "generation_config": self._generation_config(request),
            }
            if self._compile_config is not None:
                self._arguments["past_key_values"] = self._empty_cache(request.total_tokens)
        torch.manual_seed(request.seed)

    def generate(self, on_token: Callable[[], None]) -> Sequence[int]:
        """Run the prepared request through `generate()`."""
        assert self._model is not None  # noqa: S101 - load comes first
        with _memory_errors():
            ids = self._model.generate(**self._arguments, streamer=_Streamer(on_token))
        output: list[int] = ids[0, self._arguments["inputs"].shape[1] :].tolist()
        if self._compile_config is not None and len(output) > 1:
            _require_compiled(self._compile_config)
        return output

    def close(self) -> None:
        """Give back the memory."""
        import torch

        from speed_benchmark.engines.transformers import model as transformers_model

        self._model = self._static_cache = None
        self._arguments = {}
        torch.compiler.reset()
        transformers_model.free_memory()

    def _generation_config(self, request: Request) -> "GenerationConfig":
        """Exactly the request: without an `eos_token_id` nothing but the number of tokens ends it."""
        from transformers import GenerationConfig

        sampling = request.sampling
        sampled = sampling.temperature > 0
        choice = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        return GenerationConfig(
            max_new_tokens=request.generate_length,
            do_sample=sampled,
            repetition_penalty=sampling.repetition_penalty,
            use_cache=True,
            compile_config=self._compile_config,
            **(choice if sampled else {}),
        )

    def _empty_cache(self, total_tokens: int) -> "StaticCache":
        """A cache of just the request's size. Repeats share its memory, whose address CUDA graphs hold."""
        import torch
        from torch._dynamo.utils import counters
        from transformers import StaticCache

        assert self._model is not None  # noqa: S101 - load comes first
        if self._static_cache is not None and self._static_cache.get_max_length() == total_tokens:
            self._static_cache.reset()
        else:
            # Each size is compiled for itself; beside the graphs of another it would get dynamic shapes.
            self._static_cache = None
            torch.compiler.reset()
            counters.clear()
            self._static_cache = StaticCache(config=self._model.config, max_cache_len=total_tokens)
        return self._static_cache


class _Streamer:
    """Hears of each token as `generate()` hands it to the host."""

    def __init__(self, on_token: Callable[[], None]) -> None:
        self._on_token = on_token

    def put(self, token_ids: "torch.Tensor") -> None:
        """Take the prompt, of shape [1, tokens], or a new token, of shape [1]."""
        if token_ids.dim() == 1:
            self._on_token()

    def end(self) -> None:
        """Nothing is held back."""


@contextmanager
def _memory_errors() -> Iterator[None]:
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
        raise UnsupportedError("transformers compiles no GPTQ or AWQ model; leave --compile out")
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
