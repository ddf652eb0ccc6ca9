"""The small files of a checkpoint, its config.json above all: read, and checked for what is used of them."""

import json
import re
from pathlib import Path

from speed_benchmark.errors import UserError
from speed_benchmark.models import rope, trust
from speed_benchmark.models.config import Config, text_config
from speed_benchmark.record import formats

VALUE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""What a value of an activation, a key or an unquantised weight takes, by the name of its type in PyTorch."""

_MAX_JSON_BYTES = 1_000_000
_MAX_SIZES = {
    "hidden_size": 65_536,
    "intermediate_size": 1_048_576,
    "num_hidden_layers": 1_024,
    "num_attention_heads": 1_024,
    "num_key_value_heads": 1_024,
    "head_dim": 65_536,
    "vocab_size": 4_194_304,
    **dict.fromkeys(rope.POSITIONS, rope.MAX_NUMBER),
}
# Some families give one for each layer.
_SIZES_OF_LAYERS = ("intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")


def read_config(folder: Path, *, trust_remote_code: bool = False) -> Config:
    """The checked config.json of the local model in `folder`, whose files are checked too, weights aside.

    Which architectures run is for the engines to say. Raises UserError.
    """
    try:
        trust.check_folder(folder)
        config = read_json(folder / "config.json")
        trust.check_code(folder, config, trust_remote_code=trust_remote_code)
        _check_names(config)
        _check_sizes(text_config(config))
        rope.longest(config)
        quantization_of(config)
    except (OSError, ValueError) as error:
        raise UserError("--model_id_or_path", folder, str(error)) from error
    return config


def read_generation_config(folder: Path) -> Config:
    """The generation_config.json in `folder`, {} where there is none. Raises UserError for a broken one."""
    if not (folder / "generation_config.json").exists():
        return {}
    try:
        return read_json(folder / "generation_config.json")
    except (OSError, ValueError) as error:
        raise UserError("--model_id_or_path", folder, str(error)) from error


def read_json(path: Path) -> Config:
    """The JSON object in a small file of a checkpoint. Raises ValueError for anything else, and OSError."""
    if not path.is_file():
        raise ValueError(f"has no {path.name}; name a folder with a model")
    with path.open("rb") as file:
        text = file.read(_MAX_JSON_BYTES + 1)
    if len(text) > _MAX_JSON_BYTES:
        raise ValueError(f"its {path.name} is larger than {_MAX_JSON_BYTES} bytes; name a folder with a model")
    try:
        content = json.loads(text)
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its {path.name} is not JSON; get the file again") from error
    if not isinstance(content, dict):
        raise ValueError(f"its {path.name} is not a JSON object; get the file again")
    return content


def quantization_of(config: Config) -> str:
    """The name of the weight format that `config` declares, as `record.formats` has it. Raises ValueError."""
    quantization = config.get("quantization_config")
    if quantization is not None and not isinstance(quantization, dict):
        raise ValueError("quantization_config in its config.json is not a JSON object; get the file again")
    return formats.format_of(quantization, dtype_of(config)).name


def dtype_of(config: Config) -> str:
    """The type of unquantised weights: `dtype` since transformers 5, `torch_dtype` before. Raises ValueError."""
    text = text_config(config)
    dtype = str(text.get("dtype") or text.get("torch_dtype") or "bfloat16")
    if dtype not in VALUE_BYTES:
        raise ValueError(f"torch_dtype in its config.json is none of {', '.join(VALUE_BYTES)}")
    return dtype


def _check_names(config: Config) -> None:
    """Raise ValueError for names of the model's kind that are no names."""
    model_type, architectures = config.get("model_type"), config.get("architectures")
    untold = model_type is None and trust.has_code(config)
    if not untold and not (isinstance(model_type, str) and _MODEL_TYPE.fullmatch(model_type)):
        raise ValueError(f"its config.json has no model_type but {str(model_type)[:60]!a}; name a folder with a model")
    named = [] if architectures is None else architectures
    if not isinstance(named, list) or not all(isinstance(name, str) and name.isidentifier() for name in named):
        raise ValueError(f"architectures in its config.json are {str(named)[:60]!a}, no names; get the file again")


def _check_sizes(config: Config) -> None:
    """Raise ValueError for a size, where one is given, that none of a model is."""
    for key, limit in _MAX_SIZES.items():
        value = config.get(key)
        for one in value if isinstance(value, list) and key in _SIZES_OF_LAYERS else [value]:
            if one is not None and not 1 <= _whole(one) <= limit:
                raise ValueError(f"{key} in its config.json is no whole number from 1 to {limit}; get the file again")


def _whole(value: object) -> int:
    """`value`, or 0 where it is no whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
