"""The shape of the small model that tests make, and how it samples."""

from typing import Any

from speed_benchmark.models import published
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes import shipped

TINY: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 32768,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 2048,
}
GENERATION: dict[str, Any] = {
    "do_sample": True,
    "temperature": 0.7,
    "top_p": 0.8,
    "top_k": 20,
    "repetition_penalty": 1.1,
}


def tiny(suffix: str = "", **changes: object) -> dict[str, Any]:
    """The config of the small model in a format of the catalogue, named as there ("-AWQ"), with `changes`."""
    entry = published.lookup(f"Qwen2.5-0.5B-Instruct{suffix}")
    assert entry is not None
    kept = ("torch_dtype", "quantization_config")
    return TINY | {key: entry.config[key] for key in kept if key in entry.config} | changes


def published_shape(model_id: str) -> Shape:
    """The shape of a published model, which is data."""
    entry = published.lookup(model_id)
    assert entry is not None
    shape = shipped.shape(entry.config)
    assert shape is not None
    return shape
