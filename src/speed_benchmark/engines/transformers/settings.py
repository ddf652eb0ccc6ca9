"""What the engine `transformers` says of itself: its options, its traits, and how long it takes beside the model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from speed_benchmark.cell import Option
from speed_benchmark.engines.settings import Overhead, Settings, Traits

if TYPE_CHECKING:
    from speed_benchmark.engines.protocol import Engine
    from speed_benchmark.judge.judgement import Summary
    from speed_benchmark.machine.device import Device
    from speed_benchmark.record.record import Record

# Seconds to start it; least seconds of a layer in one decoding step, of plain and of quantised weights, and of a
# compiled layer in CUDA graphs; the compilation, in the first request. From records on an H200: how long a layer that
# is launched kernel by kernel takes is up to the host's processor.
START_S = 15.0
PLAIN_LAYER_S, QUANTIZED_LAYER_S, COMPILED_LAYER_S = 0.9e-3, 1.1e-3, 0.118e-3
COMPILE_S = 19.0
# On Hopper and later PyTorch's attention is cuDNN's, which plans each length of a sequence when it first comes: so long
# for each token of a first request, whatever the model.
PLANS_LENGTHS = (9, 0)
NEW_LENGTH_S = 0.043


@dataclass(frozen=True, kw_only=True)
class TransformersSettings(Settings):
    """The options of transformers."""

    traits: ClassVar[Traits] = Traits(
        title="Transformers",
        requires=("torch", "transformers", "accelerate"),
        packages=("transformers", "torch", "gptqmodel"),
        split="layers",
        environment=("GPTQMODEL_",),
    )

    attn_implementation: Annotated[
        Literal["sdpa", "flash_attention_2", "eager"], Option("attention of transformers")
    ] = "sdpa"
    compile: Annotated[bool, Option("static cache and compiled decoding")] = False

    @classmethod
    def engine(cls) -> "Engine":
        """The engine itself."""
        from speed_benchmark.engines.transformers.engine import TransformersEngine

        return TransformersEngine()

    def overhead(self, device: "Device", *, quantized: bool, first_tokens: int) -> Overhead:
        """Launching kernels layer by layer, and what the first request plans or compiles."""
        plain_s = COMPILED_LAYER_S if self.compile and device.gpus else PLAIN_LAYER_S
        return Overhead(
            start_s=START_S,
            layer_s=QUANTIZED_LAYER_S if quantized else plain_s,
            launches_ahead=bool(device.gpus) and not self.compile,
            first_request_s=self._first_request_s(device, first_tokens) if device.gpus else 0.0,
        )

    def _first_request_s(self, device: "Device", tokens: int) -> float:
        if self.compile:
            return COMPILE_S
        plans_lengths = self.attn_implementation == "sdpa" and device.compute_capability >= PLANS_LENGTHS
        return NEW_LENGTH_S * tokens * plans_lengths

    def original_columns(self, record: "Record", summary: "Summary") -> dict[str, object]:
        """The columns of the report's script for transformers."""
        workload, loaded = record.cell.workload, record.loaded
        peak_bytes = summary.memory.allocator_peak_allocated_bytes or 0
        return {
            "model_id_or_path": record.cell.model.model_id_or_path,
            "batch_size": workload.batch_size,
            "context_length_per_experiment": workload.context_length,
            "generate_length_per_experiment": workload.generate_length,
            "use_flash_attn": bool(loaded and loaded.attention_implementation == "flash_attention_2"),
            "comment": "default",
            "tokens_per_second": round(summary.generation_tokens_per_s.mean, 4),
            "max_gpu_memory_cost_gb": round(peak_bytes / 2**30, 4),
        }
