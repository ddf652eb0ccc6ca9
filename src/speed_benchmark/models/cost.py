"""What one token costs at least: bytes to read and operations to compute, from the model's config."""

from dataclasses import dataclass
from typing import Literal

from speed_benchmark.cell import EngineSettings
from speed_benchmark.models import checkpoint
from speed_benchmark.models.checkpoint import TensorSpec
from speed_benchmark.models.config import Config
from speed_benchmark.record.engine import Loaded
from speed_benchmark.record.record import TokenCost

_EMBEDDING = "model.embed_tokens.weight"


def token_cost(
    config: Config, settings: EngineSettings, loaded: Loaded | None, split: Literal["tensor", "layers"]
) -> TokenCost | None:
    """The cost of one token; None for a model whose tensors, or the size of their type, its config does not tell.

    Read once for each token: every linear layer with its scales and zeros, the norms, the biases and the output layer,
    which is the whole embedding where the two are tied; else one row of the embedding. The order of GPTQ's inputs
    (`g_idx`) is not counted: weights that are in order need none. Computed: a multiplication and an addition for each
    weight of a linear layer, quantised or not; for attention the same for each value of a key and of a value, in each
    query head, for each position before. Before a model is `loaded` its cache is taken to have the type of the
    activations. `split` is how the engine uses several GPUs: "tensor" computes each layer on all of them at once,
    "layers" on one after the other.
    """
    try:
        tensors = checkpoint.tensors(config)
        value_bytes = checkpoint.VALUE_BYTES[
            checkpoint.dtype_of(config) if settings.dtype == "auto" else settings.dtype
        ]
    except ValueError:
        return None
    sums = _Sums.of(tensors, config, value_bytes)
    per_layer = config["num_attention_heads"] * checkpoint.head_size(config)
    cache_bytes = loaded.kv_cache_bytes_per_token if loaded else None
    cache_bytes = cache_bytes or checkpoint.kv_values_per_token(config) * value_bytes
    return TokenCost(
        weight_bytes=sums.read_bytes,
        kv_cache_bytes_per_token=cache_bytes,
        flops=2 * (sums.linear_weights + sums.output_weights),
        attention_flops_per_token=2 * 2 * config["num_hidden_layers"] * per_layer,
        prefill_flops=2 * sums.linear_weights,
        devices_at_once=max(1, settings.gpu_count) if split == "tensor" else 1,
    )


@dataclass(frozen=True)
class _Sums:
    """What a token reads, and the weights by which it is multiplied in the blocks and in the output layer."""

    read_bytes: int
    linear_weights: int
    output_weights: int

    @classmethod
    def of(cls, tensors: list[TensorSpec], config: Config, value_bytes: int) -> "_Sums":
        embedding = next(tensor for tensor in tensors if tensor.name == _EMBEDDING)
        rows = embedding.shape[0] if config.get("tie_word_embeddings", False) else 1
        rest = [tensor for tensor in tensors if tensor is not embedding and not tensor.name.endswith(".g_idx")]
        return cls(
            read_bytes=rows * embedding.shape[1] * value_bytes + sum(_bytes(tensor, value_bytes) for tensor in rest),
            linear_weights=sum(_linear_weights(tensor, config) for tensor in rest),
            output_weights=embedding.elements,
        )


def _bytes(tensor: TensorSpec, value_bytes: int) -> int:
    """What a tensor takes once it is loaded: plain weights take the type that was asked for."""
    return tensor.elements * value_bytes if _is_plain(tensor) else tensor.size_bytes


def _linear_weights(tensor: TensorSpec, config: Config) -> int:
    """The weights of a linear layer of a block that `tensor` holds, packed or not."""
    if tensor.name.endswith(".qweight"):
        return int(tensor.elements * 32 // config["quantization_config"]["bits"])
    is_linear = len(tensor.shape) == 2 and tensor.name.startswith("model.layers.") and _is_plain(tensor)
    return tensor.elements if is_linear else 0


def _is_plain(tensor: TensorSpec) -> bool:
    """Whether it is no part of a quantised weight."""
    return not tensor.name.endswith((".qweight", ".qzeros", ".scales", ".g_idx"))
