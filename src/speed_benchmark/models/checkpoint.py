"""What a checkpoint is made of: its config.json, and the tensors that a Qwen2-shaped config asks for."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from speed_benchmark.errors import UserError
from speed_benchmark.models import rope, trust
from speed_benchmark.models.config import Config

Quantization = Literal["BF16", "FP16", "FP32", "GPTQ-Int4", "GPTQ-Int8", "AWQ"]
StoredType = Literal["BF16", "F16", "F32", "I32"]

ARCHITECTURES = {
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
}
STORED_BYTES: dict[StoredType, int] = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4}
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
    "max_position_embeddings": 100_000_000,
}
_OPTIONAL_SIZES = ("num_key_value_heads", "head_dim")
_DTYPES: dict[str, tuple[Quantization, StoredType]] = {
    "bfloat16": ("BF16", "BF16"),
    "float16": ("FP16", "F16"),
    "float32": ("FP32", "F32"),
}
_QUANTIZATIONS: dict[tuple[str, int], Quantization] = {
    ("gptq", 4): "GPTQ-Int4",
    ("gptq", 8): "GPTQ-Int8",
    ("awq", 4): "AWQ",
}


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a checkpoint; `dtype` is the name that safetensors gives to the type."""

    name: str
    dtype: StoredType
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """What it takes on disk and in memory."""
        return self.elements * STORED_BYTES[self.dtype]


def read_config(folder: Path, *, synthetic: bool = False, trust_remote_code: bool = False) -> Config:
    """The checked config.json of the local model in `folder`, whose files are checked too, weights aside.

    With `synthetic` weights the config must be Qwen2-shaped and whole; otherwise an engine must run the architecture,
    or the model must bring code for it that the user trusts. Raises UserError.
    """
    try:
        trust.check_folder(folder)
        config = read_json(folder / "config.json")
        trust.check_code(folder, config, trust_remote_code=trust_remote_code)
        if not trust.has_code(config):
            _check_architecture(config)
        _check_sizes(config)
        rope.longest(config)
        quantization_of(config)
        if synthetic:
            check_synthetic(config)
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


def quantization_of(config: Config) -> Quantization:
    """The weight format that `config` describes. Raises ValueError for one that is not measured here."""
    quantization = config.get("quantization_config")
    if quantization is None:
        return _DTYPES[dtype_of(config)][0]
    if isinstance(quantization, dict):
        found = _QUANTIZATIONS.get((str(quantization.get("quant_method")), _whole(quantization.get("bits"))))
        if found:
            return found
    raise ValueError(
        "is quantised in a way that is not measured here; take a model in "
        "BF16, FP16, FP32, GPTQ of 4 or 8 bits, or AWQ of 4 bits"
    )


def tensors(config: Config) -> list[TensorSpec]:
    """The tensors of a checkpoint of this `config`, from the embedding to the output layer.

    Names, shapes and types are those of the checkpoints that Qwen publishes. Shapes are [out, in] for plain weights;
    for GPTQ, with p = 32 / bits values in an int32, qweight is [in / p, out]; for AWQ [in, out / p]; for both, scales
    is [in / group, out] and qzeros [in / group, out / p]. Raises ValueError for a config that is not Qwen2-shaped.
    """
    _check_architecture(config)
    _check_sizes(config)
    _check_shape(config)
    return list(_tensors(config))


def weight_bytes(config: Config) -> int:
    """Bytes of all weights of a checkpoint of this `config`, file headers aside."""
    return sum(tensor.size_bytes for tensor in tensors(config))


def head_size(config: Config) -> int:
    """The values of a query, a key or a value in one attention head: `head_dim`, or the heads' share of the width."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def kv_values_per_token(config: Config) -> int:
    """The values that the key-value cache holds for one token, in all layers: a key and a value in each head."""
    return int(config["num_hidden_layers"] * 2 * _key_value_heads(config) * head_size(config))


def dtype_of(config: Config) -> str:
    """The type of unquantised weights: `dtype` since transformers 5, `torch_dtype` before. Raises ValueError."""
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    if dtype not in _DTYPES:
        raise ValueError(f"torch_dtype in its config.json is none of {_listed(_DTYPES)}")
    return dtype


def check_synthetic(config: Config) -> None:
    """Raise ValueError unless weights of this config can be made up, and every engine takes them."""
    _check_shape(config)
    if config.get("head_dim") not in (None, config["hidden_size"] // config["num_attention_heads"]):
        raise ValueError("head_dim in its config.json is not hidden_size / num_attention_heads")


def _tensors(config: Config) -> Iterator[TensorSpec]:
    dtype = _DTYPES[dtype_of(config)][1]
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield TensorSpec("model.embed_tokens.weight", dtype, (vocabulary, hidden))
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield TensorSpec(f"{prefix}.{norm}.weight", dtype, (hidden,))
        for name, (inputs, outputs) in _linear_layers(config).items():
            yield from _linear(f"{prefix}.{name}", inputs, outputs, config, dtype)
            if name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                yield TensorSpec(f"{prefix}.{name}.bias", dtype, (outputs,))
    yield TensorSpec("model.norm.weight", dtype, (hidden,))
    if not config.get("tie_word_embeddings", False):
        yield TensorSpec("lm_head.weight", dtype, (vocabulary, hidden))


def _linear_layers(config: Config) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of the linear layers of a block, by name."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    query = config["num_attention_heads"] * head_size(config)
    key_value = _key_value_heads(config) * head_size(config)
    return {
        "self_attn.q_proj": (hidden, query),
        "self_attn.k_proj": (hidden, key_value),
        "self_attn.v_proj": (hidden, key_value),
        "self_attn.o_proj": (query, hidden),
        "mlp.gate_proj": (hidden, intermediate),
        "mlp.up_proj": (hidden, intermediate),
        "mlp.down_proj": (intermediate, hidden),
    }


def _linear(name: str, inputs: int, outputs: int, config: Config, dtype: StoredType) -> Iterator[TensorSpec]:
    quantization = config.get("quantization_config")
    if quantization is None:
        yield TensorSpec(f"{name}.weight", dtype, (outputs, inputs))
        return
    packed, groups = 32 // quantization["bits"], inputs // quantization["group_size"]
    is_gptq = quantization["quant_method"] == "gptq"
    yield TensorSpec(f"{name}.qweight", "I32", (inputs // packed, outputs) if is_gptq else (inputs, outputs // packed))
    yield TensorSpec(f"{name}.qzeros", "I32", (groups, outputs // packed))
    yield TensorSpec(f"{name}.scales", "F16", (groups, outputs))
    if is_gptq:
        yield TensorSpec(f"{name}.g_idx", "I32", (inputs,))


def _check_architecture(config: Config) -> None:
    model_type, named = config.get("model_type"), config.get("architectures")
    expected = ARCHITECTURES.get(str(model_type))
    if expected is None or (named is not None and named != [expected]):
        found = named[0] if isinstance(named, list) and named else model_type
        raise ValueError(f"is a {str(found)[:60]!a}, which no engine here runs; take {_listed(ARCHITECTURES.values())}")


def _check_sizes(config: Config) -> None:
    for key, limit in _MAX_SIZES.items():
        value = config.get(key)
        if value is None and key in _OPTIONAL_SIZES:
            continue
        if value is None:
            raise ValueError(f"its config.json has no {key}; get the file again")
        if not 1 <= _whole(value) <= limit:
            raise ValueError(f"{key} in its config.json is no whole number from 1 to {limit}; get the file again")


def _check_shape(config: Config) -> None:
    """Raise ValueError unless the tensors of this config are known: it is Qwen2-shaped, and all divides evenly."""
    if config["model_type"] != "qwen2":
        raise ValueError(f"is a {config['model_type']}; made-up weights are for {ARCHITECTURES['qwen2']} only")
    hidden, heads, key_value_heads = config["hidden_size"], config["num_attention_heads"], _key_value_heads(config)
    divides = config.get("head_dim") is not None or hidden % heads == 0
    if not divides or head_size(config) % 2 or heads % key_value_heads:
        raise ValueError(
            f"hidden_size {hidden}, num_attention_heads {heads} and num_key_value_heads {key_value_heads} "
            "in its config.json do not divide evenly"
        )
    dtype_of(config)
    quantization_of(config)
    quantization = config.get("quantization_config")
    if quantization is None:
        return
    group, packed = _whole(quantization.get("group_size")), 32 // quantization["bits"]
    if group < 1 or quantization.get("desc_act") or quantization.get("sym") is False:
        raise ValueError("made-up weights are quantised in groups, symmetrically and in order: sym, no desc_act")
    if quantization.get("checkpoint_format", "gptq") != "gptq" or quantization.get("version", "gemm") != "gemm":
        raise ValueError("made-up weights are in checkpoint_format gptq, or in version gemm of AWQ")
    for name, (inputs, outputs) in _linear_layers(config).items():
        if inputs % group or inputs % packed or outputs % packed:
            raise ValueError(f"{name} has {inputs} inputs and {outputs} outputs, no multiples of the group {group}")


def _key_value_heads(config: Config) -> int:
    return _whole(config.get("num_key_value_heads") or config["num_attention_heads"])


def _whole(value: object) -> int:
    """`value`, or 0 where it is no whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
