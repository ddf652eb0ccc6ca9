"""The engine `vllm`: vLLM in this process, its own loop stepped here so that each token has a time.

Written against the sources of vLLM 0.26 and 0.32.
"""

import gc
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from speed_benchmark.engines.clock import WallClock
from speed_benchmark.engines.protocol import Clock, Load, Loaded, OutOfMemoryError, Request, Sampling, UnsupportedError

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine's loop runs here and not in a process of its own
    "VLLM_NO_USAGE_STATS": "1",
    # How far the model reaches is checked before the load; 0.32 does not count a YaRN that config.json itself names.
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
}
USER_CHOICES = ("VLLM_USE_FLASHINFER_SAMPLER", "VLLM_DISABLED_KERNELS")
CPU_BLOCK_TOKENS = 128

OUT_OF_MEMORY_SIGNS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "no available memory for the cache blocks",
    "larger than the available kv cache memory",
    "less than desired gpu memory utilization",
    "less than requested memory for kv",
)
UNSUPPORTED_SIGNS = (
    "not support",
    "unsupported",
    "failed to find a kernel",
    "failed to infer device type",
    "divisible by",
    "no kernel image",
)


class VllmEngine:
    """vLLM's `LLM` at batch size 1, without a tokenizer and without prefix caching; tensor parallel over the GPUs."""

    requires: ClassVar[tuple[str, ...]] = ("vllm",)

    def __init__(self) -> None:
        self.clock: Clock = WallClock()
        self.cached_tokens: int | None = None
        self._llm: LLM | None = None
        self._capacity_tokens = 0
        self._requests = 0
        self._prompt: dict[str, Any] = {}
        self._params: SamplingParams | None = None

    def load(self, load: Load) -> Loaded:
        """Start vLLM and read back what runs."""
        reasons = tuple(f"{name} is set to {os.environ[name]}" for name in USER_CHOICES if name in os.environ)
        os.environ.update(ENVIRONMENT)
        from vllm import LLM
        from vllm.platforms import current_platform

        from speed_benchmark.engines.vllm import model as vllm_model

        settings = load.settings
        if current_platform.is_cpu() == bool(settings.gpu_count):
            raise UnsupportedError("this build of vLLM is for " + ("the CPU" if settings.gpu_count else "GPUs"))
        with _explained():
            self._llm = LLM(
                model=load.checkpoint_dir,
                skip_tokenizer_init=True,
                load_format="auto" if load.allow_pickle else "safetensors",
                trust_remote_code=load.trust_remote_code,
                hf_overrides=load.config_overrides,
                dtype=settings.dtype,
                tensor_parallel_size=settings.gpu_count or 1,
                max_model_len=settings.max_model_len,
                max_num_seqs=1,
                enable_prefix_caching=False,
                gpu_memory_utilization=settings.gpu_memory_utilization,
                kv_cache_memory_bytes=None if settings.gpu_count else _cpu_cache_bytes(load),
                enforce_eager=settings.enforce_eager,
            )
            loaded = vllm_model.read_back(self._llm, reasons)
        # Several GPUs are worked on by other processes; a token that came from them has been waited for.
        self.clock = WallClock((0,) if settings.gpu_count == 1 else ())
        self._capacity_tokens = min(loaded.max_model_len or 0, loaded.kv_cache_capacity_tokens or 0)
        return loaded.model_copy(update={"finite_logits": self._finite_logits()})

    def prepare(self, request: Request) -> None:
        """Make vLLM's own form of the prompt and of the sampling, and seed its generators."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        from speed_benchmark.engines.vllm import model as vllm_model

        assert self._llm is not None  # noqa: S101 - load comes first
        if request.total_tokens > self._capacity_tokens:
            raise OutOfMemoryError(f"{request.total_tokens} tokens, and vLLM has room for {self._capacity_tokens}")
        # A seed in the parameters would turn FlashInfer's sampler off, min_tokens would mask logits at every step;
        # users of vLLM pay for neither, and ignore_eos alone makes the number of tokens exact.
        self._params = SamplingParams(
            max_tokens=request.generate_length,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            **request.sampling.model_dump(),
        )
        (self._prompt,) = self._llm.renderer.render_cmpl([{"prompt_token_ids": list(request.prompt_token_ids)}])
        self._llm.collective_rpc(vllm_model.seed, args=(request.seed,))

    def generate(self, on_token: Callable[[], None]) -> Sequence[int]:
        """Step vLLM's loop until the request has ended, as `LLM.generate` does."""
        assert self._llm is not None  # noqa: S101 - load comes first
        loop = self._llm.llm_engine
        token_ids: list[int] = []
        self._requests += 1
        with _explained():
            loop.add_request(str(self._requests), self._prompt, self._params)
            while loop.has_unfinished_requests():
                for output in loop.step():
                    new_ids = output.outputs[0].token_ids
                    for _ in new_ids:
                        on_token()
                    token_ids.extend(new_ids)
                    self.cached_tokens = output.num_cached_tokens
        return token_ids

    def close(self) -> None:
        """Shut vLLM down, and its worker processes with it."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            gc.collect()

    def _finite_logits(self) -> bool | None:
        """Whether all logits of a prompt of eight tokens are finite."""
        from speed_benchmark.engines.vllm import model as vllm_model

        assert self._llm is not None  # noqa: S101 - asked by load
        prompt = tuple(range(min(8, self._capacity_tokens - 1)))
        self._llm.collective_rpc(vllm_model.watch_logits)
        self.prepare(Request(prompt_token_ids=prompt, generate_length=1, sampling=Sampling(), seed=0))
        self.generate(lambda: None)
        seen = [finite for finite in self._llm.collective_rpc(vllm_model.finite_logits) if finite is not None]
        return all(seen) if seen else None


def _cpu_cache_bytes(load: Load) -> int:
    """Room for `max_model_len` tokens: left to itself, vLLM takes a share of all memory for its cache on the CPU."""
    config = json.loads((Path(load.checkpoint_dir) / "config.json").read_text(encoding="utf-8"))
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    values = config["num_hidden_layers"] * 2 * (config.get("num_key_value_heads") or heads) * head_size
    dtype = load.settings.dtype
    if dtype == "auto":
        dtype = config.get("dtype") or config.get("torch_dtype")
    tokens = load.settings.max_model_len or load.max_total_tokens
    blocks = -(-tokens // CPU_BLOCK_TOKENS) + 1  # vLLM never hands out the first one
    return int(blocks * CPU_BLOCK_TOKENS * values * (4 if dtype == "float32" else 2))


@contextmanager
def _explained() -> Iterator[None]:
    """Turn vLLM's ways of saying that memory or support is lacking into the protocol's errors, in one line."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).partition(" [type=")[0].split())
        if isinstance(error, MemoryError) or any(sign in text.lower() for sign in OUT_OF_MEMORY_SIGNS):
            raise OutOfMemoryError(text) from error
        if any(sign in text.lower() for sign in UNSUPPORTED_SIGNS):
            raise UnsupportedError(text) from error
        raise
