"""What one token costs at least: bytes to read and operations to compute, from the model's shape."""

from typing import Literal

from pydantic import ValidationError

from speed_benchmark.cell import EngineSettings
from speed_benchmark.models.checkpoint import VALUE_BYTES
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.cost import LayerGroup, TokenCost
from speed_benchmark.record.engine import Loaded


def token_cost(
    shape: Shape, settings: EngineSettings, loaded: Loaded | None, split: Literal["tensor", "layers"]
) -> TokenCost | None:
    """The cost of one token; None for a model of which transformers does not tell what it computes.

    Read once for each token: every weight that it goes through, with scales and zeros, and one row of an embedding that
    is not the output layer too. Before a model is `loaded` its cache is taken to have the type of the activations.
    `split` is how the engine uses several GPUs: "tensor" computes each layer on all of them at once, "layers" on one
    after the other.
    """
    forward = shape.forward
    if forward is None:
        return None
    weight_value_bytes = VALUE_BYTES.get(settings.dtype)
    cache_bytes = loaded.kv_cache_bytes_per_token if loaded else None
    try:
        return TokenCost(
            weight_bytes=shape.read_bytes(value_bytes=weight_value_bytes),
            kv_cache_bytes_per_token=cache_bytes or shape.kv_values_per_token * value_bytes(shape, settings),
            flops=forward.flops,
            attention_flops_per_token=sum(group.count * group.flops_per_position for group in forward.layers),
            prefill_flops=forward.flops - forward.output_flops,
            devices_at_once=max(1, settings.gpu_count) if split == "tensor" else 1,
            layers=() if all(map(_is_plain, forward.layers)) else forward.layers,
            experts=shape.experts,
            expert_bytes=shape.expert_bytes(weight_value_bytes) if shape.experts else 0,
        )
    except ValidationError:  # a config that lies: no such bytes or operations can be recorded
        return None


def value_bytes(shape: Shape, settings: EngineSettings) -> int:
    """What a value of the activations takes, and of a cache that is not quantised."""
    return VALUE_BYTES.get(settings.dtype) or shape.value_bytes


def _is_plain(group: LayerGroup) -> bool:
    """Whether a layer keeps and looks at all tokens before, and nothing else."""
    return group.kind == "full" and group.window_tokens is None and not group.state_bytes
