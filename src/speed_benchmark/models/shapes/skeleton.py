"""A model without values: what transformers builds of a config on PyTorch's `meta` device."""

from typing import TYPE_CHECKING

import torch
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

from speed_benchmark.models.config import Config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Each of these makes plain matrix products whose sizes do not depend on values: eager attention, and a product for each
# pair of a token and an expert.
IGNORED = ("quantization_config", "auto_map")
ATTENTION, EXPERTS = "eager", "batched_mm"


def build(config: Config, *, text_only: bool = False) -> "PreTrainedModel":
    """The plain model of a config.json, quantised or not; no code but that of transformers runs.

    A multimodal checkpoint is built whole where transformers runs it as a causal language model; else, or where that is
    asked for, its text model.
    Raises ValueError for a model that transformers does not know, and whatever its class raises for a config that lies.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(f"transformers knows no model_type {str(model_type)[:60]!a}")
    config_class = CONFIG_MAPPING[model_type]
    told = {key: value for key, value in config.items() if key not in IGNORED and not key.startswith("_")}
    # JSON has no infinity; transformers writes it in a way of its own.
    own = config_class.from_dict(config_class._decode_special_floats(told))
    if text_only or type(own) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        own = own.get_text_config(decoder=True)
    if type(own) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"transformers has no causal language model of model_type {model_type[:60]!a}")
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            own, dtype=_dtype(own), attn_implementation=ATTENTION, experts_implementation=EXPERTS
        ).eval()


def _dtype(config: "PreTrainedConfig") -> torch.dtype:
    """The type of plain weights: the config's own, else that of its text model, else bfloat16."""
    dtype = config.dtype or config.get_text_config(decoder=True).dtype or torch.bfloat16
    return dtype if isinstance(dtype, torch.dtype) else getattr(torch, str(dtype))
