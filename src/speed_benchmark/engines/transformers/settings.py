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

# Guesses, where priors.toml has no records: seconds to start it; of a layer in a step that is launched kernel by
# kernel, with plain and with quantised weights; of a step that is compiled into CUDA graphs, of its prefill, which is
# not, and of the compilation, in the first request; of the device for the kernels of a layer however small they are.
START_S, PLAIN_LAYER_S, QUANTIZED_LAYER_S = 15.0, 0.9e-3, 1.1e-3
COMPILED_STEP_S, COMPILED_PREFILL_S, COMPILE_S = 2e-3, 20e-3, 19.0
KERNEL_S = 40e-6
# On Hopper and later PyTorch's attention is cuDNN's, which plans each length of a sequence when it first comes: so long
# for each token of a first request, whatever the model.
PLANS_LENGTHS = (9, 0)
NEW_LENGTH_S = 0.043
# Eager attention writes and reads each score several times: mask, softmax in 32 bits, and back.
SCORE_BYTES = 40.0


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

    def overhead(self, device: "Device", *, quantized: bool) -> Overhead:
        """Launching kernels layer by layer, and what the first request plans or compiles."""
        compiled = self.compile and bool(device.gpus)
        plans_lengths = self.attn_implementation == "sdpa" and device.compute_capability >= PLANS_LENGTHS
        return Overhead(
            start_s=START_S,
            layer_s=0.0 if compiled else QUANTIZED_LAYER_S if quantized else PLAIN_LAYER_S,
            step_s=COMPILED_STEP_S if compiled else 0.0,
            launches_ahead=bool(device.gpus) and not compiled,
            kernel_s=KERNEL_S,
            prefill_s=COMPILED_PREFILL_S if compiled else 0.0,
            score_bytes=SCORE_BYTES if self.attn_implementation == "eager" else 0.0,
            first_request_s=COMPILE_S if compiled else 0.0,
            first_token_s=NEW_LENGTH_S if plans_lengths and not compiled else 0.0,
        )

    def kinds(self, device: "Device", *, quantized: bool) -> tuple[str, ...]:
        """By device, execution, attention where it is eager, and weights."""
        execution = ["cpu"] * (not device.gpus) + ["compiled" if self.compile else "eager"]
        attention, weights = ["eager-attention"] * (self.attn_implementation == "eager"), ["quantized"] * quantized
        likeness = ([*execution, *attention, *weights], [*execution, *weights], execution)
        return tuple(dict.fromkeys("-".join(parts) for parts in likeness))

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
