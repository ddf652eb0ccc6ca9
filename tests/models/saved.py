"""A process that makes small models with values, saves them, runs them, and tells what they hold: a line for each."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from tests.models.families import config_of

TOKENS = (5, 7)
"""Prompts that are run: both shorter than any window."""


def told(model_type: str) -> dict[str, Any]:
    """The config of a model, the tensors that it is saved as, and the bytes that its cache takes for two prompts."""
    config = config_of(model_type)
    own = CONFIG_MAPPING[model_type]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        own.from_dict(own._decode_special_floats(config)), dtype=torch.bfloat16, attn_implementation="eager"
    ).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = {}
        for file in Path(folder).glob("*.safetensors"):
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - not a dictionary
                    part = opened.get_slice(name)
                    tensors[name] = [part.get_dtype(), part.get_shape()]
    kept = [_cache_bytes(model, tokens) for tokens in TOKENS]
    return {"config": config, "tensors": tensors, "kept": kept}


def _cache_bytes(model: Any, tokens: int) -> int:
    with torch.no_grad():
        output = model(input_ids=torch.arange(tokens)[None] + 3, use_cache=True)
    cache = output["past_key_values"] if "past_key_values" in output else output["cache_params"]
    return sum(_bytes(vars(layer)) for layer in cache.layers)


def _bytes(kept: object) -> int:
    if isinstance(kept, torch.Tensor):
        return kept.nbytes if kept.dim() > 1 else 0
    parts = kept.values() if isinstance(kept, dict) else kept if isinstance(kept, list | tuple) else ()
    return sum(map(_bytes, parts))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            found = told(name)
        except Exception as error:  # noqa: BLE001 - the test names the family
            found = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write("told " + json.dumps({"name": name} | found) + "\n")
