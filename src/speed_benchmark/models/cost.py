"""What one token costs at least: bytes to read and operations to compute, from the model's config."""

from typing import Any

from speed_benchmark.cell import EngineSettings
from speed_benchmark.models import checkpoint
from speed_benchmark.record.record import Loaded, Work

_PLAIN_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_PLAIN_TYPES = ("BF16", "F16", "F32")


def work(config: dict[str, Any], settings: EngineSettings, loaded: Loaded) -> Work | None:
    """The work of one token; None for a model whose tensors are not known from its config.

    Read once for each token: every linear layer with its scales and zeros, the norms, the biases and the output layer,
    which is the whole embedding where the two are tied; else one row of the embedding. The order of GPTQ's inputs
    (`g_idx`) is not counted: weights that are in order need none. Computed: a multiplication and an addition for each
    weight of a linear layer, quantised or not; for attention the same for each value of a key and of a value, in each
    query head, for each position before.
    """
    try:
        tensors = checkpoint.tensors(config)
    except ValueError:
        return None
    plain_bytes = _PLAIN_BYTES.get(settings.dtype)
    tied = bool(config.get("tie_word_embeddings", False))
    read_bytes = linear = output_layer = 0
    for tensor in tensors:
        stored_plain = tensor.dtype in _PLAIN_TYPES and not tensor.name.endswith(".scales")
        element_bytes = plain_bytes if plain_bytes and stored_plain else checkpoint.STORED_BYTES[tensor.dtype]
        if tensor.name == "model.embed_tokens.weight":
            rows = tensor.shape[0] if tied else 1
            read_bytes += rows * tensor.shape[1] * element_bytes
            output_layer = tensor.elements
        elif not tensor.name.endswith(".g_idx"):
            read_bytes += tensor.elements * element_bytes
            if tensor.name.endswith(".qweight"):
                linear += tensor.elements * 32 // config["quantization_config"]["bits"]
            elif len(tensor.shape) == 2 and tensor.name.startswith("model.layers.") and stored_plain:
                linear += tensor.elements
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    head_size = config["hidden_size"] // heads
    key_value_heads = config.get("num_key_value_heads") or heads
    cache_bytes = loaded.kv_cache_bytes_per_token or 2 * layers * key_value_heads * head_size * (plain_bytes or 2)
    return Work(
        weight_bytes=read_bytes,
        kv_cache_bytes_per_token=cache_bytes,
        flops=2 * (linear + output_layer),
        attention_flops_per_token=2 * 2 * layers * heads * head_size,
        prefill_flops=2 * linear,
        # transformers computes the layers of one GPU after those of another; vLLM splits each layer over all of them
        devices_at_once=settings.gpu_count if settings.engine == "vllm" and settings.gpu_count else 1,
    )
