"""The Qwen2.5 Instruct family: its models, with the config.json and generation_config.json of each.

Sources: the files of the same names in the model repositories `Qwen/Qwen2.5-*-Instruct*`.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from speed_benchmark.models.config import Config

ORGANISATION = "Qwen/"


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue: `config` and `generation_config` are the contents of its two JSON files."""

    model_id: str
    config: Config
    generation_config: Config


def lookup(model_id: str) -> Entry | None:
    """The entry of `model_id`, given with or without `Qwen/`; None for a model that is not in the catalogue."""
    return _ENTRIES.get(model_id) or _ENTRIES.get(ORGANISATION + model_id)


def near(model_id: str) -> list[str]:
    """Ids in the catalogue that look like `model_id`, the nearest first, at most three."""
    by_lower_case = {known.lower(): known for known in _ENTRIES}
    wanted = ORGANISATION + model_id.rsplit("/", 1)[-1]
    return [by_lower_case[match] for match in difflib.get_close_matches(wanted.lower(), by_lower_case)]


def entries() -> tuple[Entry, ...]:
    """All entries, small models first."""
    return tuple(_ENTRIES.values())


class _Size(NamedTuple):
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_window_layers: int


_SIZES = {
    "0.5B": _Size(896, 4864, 24, 14, 2, 21),
    "1.5B": _Size(1536, 8960, 28, 12, 2, 21),
    "3B": _Size(2048, 11008, 36, 16, 2, 70),
    "7B": _Size(3584, 18944, 28, 28, 4, 28),
    "14B": _Size(5120, 13824, 48, 40, 8, 70),
    "32B": _Size(5120, 27648, 64, 40, 8, 70),
    "72B": _Size(8192, 29568, 80, 64, 8, 70),
}
_UP_TO_1_5B = ("0.5B", "1.5B")
_UP_TO_3B = ("0.5B", "1.5B", "3B")

# Padded by the model's makers, so that each of 8 GPUs gets whole groups of 128.
_QUANTIZED_INTERMEDIATE_SIZE = {"72B": 29696}


def _gptq(bits: int) -> Config:
    return {
        "batch_size": 1,
        "bits": bits,
        "block_name_to_quantize": None,
        "cache_block_outputs": True,
        "damp_percent": 0.01,
        "dataset": None,
        "desc_act": False,
        "exllama_config": {"version": 1},
        "group_size": 128,
        "max_input_length": None,
        "model_seqlen": None,
        "module_name_preceding_first_block": None,
        "modules_in_block_to_quantize": None,
        "pad_token_id": None,
        "quant_method": "gptq",
        "sym": True,
        "tokenizer": None,
        "true_sequential": True,
        "use_cuda_fp16": False,
        "use_exllama": True,
    }


def _awq() -> Config:
    return {
        "bits": 4,
        "group_size": 128,
        "modules_to_not_convert": None,
        "quant_method": "awq",
        "version": "gemm",
        "zero_point": True,
    }


def _config(size: str, quantization: Config | None, transformers_version: str) -> Config:
    small = size in _UP_TO_3B
    config: Config = {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 32768,
        "model_type": "qwen2",
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768 if small else 131072,
        "tie_word_embeddings": small,
        "torch_dtype": "float16" if quantization else "bfloat16",
        "transformers_version": transformers_version,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 151936 if small else 152064,
    }
    config |= _SIZES[size]._asdict()
    if quantization:
        config["quantization_config"] = quantization
        config["intermediate_size"] = _QUANTIZED_INTERMEDIATE_SIZE.get(size, config["intermediate_size"])
    return config


def _generation_config(size: str) -> Config:
    return {
        "bos_token_id": 151643,
        "do_sample": True,
        "eos_token_id": [151645, 151643],
        "pad_token_id": 151643,
        "repetition_penalty": 1.1 if size in _UP_TO_1_5B else 1.05,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.8,
        "transformers_version": "4.37.0",
    }


def _family() -> Iterator[Entry]:
    for size in _SIZES:
        variants: dict[str, tuple[Config | None, str]] = {
            "": (None, "4.43.1"),
            "-GPTQ-Int4": (_gptq(4), "4.39.3"),
            "-GPTQ-Int8": (_gptq(8), "4.39.3"),
            "-AWQ": (_awq(), "4.41.1"),
        }
        for suffix, (quantization, transformers_version) in variants.items():
            yield Entry(
                f"{ORGANISATION}Qwen2.5-{size}-Instruct{suffix}",
                _config(size, quantization, transformers_version),
                _generation_config(size),
            )


_ENTRIES = {entry.model_id: entry for entry in _family()}
