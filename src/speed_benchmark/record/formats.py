"""Weight formats: the one table of their names, with all that tables, charts and rules know of one.

A format that is not in it is measured like any other; it stands last in tables, in the colour of all others.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Quantization = Mapping[str, object]
"""The `quantization_config` of a config.json."""

_UNQUANTIZED_BITS = 16
_NVFP4_GROUP = 16
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")
_LONGEST_NAME = 40
# Methods of `quantization_config` that mean one format, whatever else they say.
_METHODS = {"fp8": "FP8", "fbgemm_fp8": "FP8", "mxfp4": "MXFP4", "mxfp8": "MXFP8", "nvfp4": "NVFP4"}


@dataclass(frozen=True)
class Format:
    """How the weights of linear layers are stored: `bits` for each, scales aside; None where that is not known here.

    `dtype` is what PyTorch calls the type of plain weights. `light` and `dark` are the colours in charts. `suffixes`
    are what model ids have at their end, the usual one first.
    """

    name: str
    bits: int | None = None
    dtype: str | None = None
    light: str = "#6d4fb0"
    dark: str = "#b79cf2"
    suffixes: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether weights are as they were trained, not quantised."""
        return self.dtype is not None


OTHER = Format("other")
"""What all formats have that are not in the table."""

FORMATS = {
    one.name: one
    for one in (
        Format("BF16", 16, "bfloat16", "#1f5fb4", "#7fb2f5"),
        Format("FP16", 16, "float16", "#4f7d8c", "#8fc0cf"),
        Format("FP32", 32, "float32", "#6b7280", "#a4adba"),
        Format("FP8", 8, None, "#0b7285", "#4dc4d9", ("-FP8", "-FP8-dynamic", "-FP8-block")),
        Format("W8A8", 8, None, "#8a5300", "#e6b35c", ("-W8A8", "-quantized.w8a8")),
        Format("W8A16", 8, None, "#7a6200", "#d6c04a", ("-W8A16", "-quantized.w8a16")),
        Format("W4A16", 4, None, "#a3262a", "#f28b82", ("-W4A16", "-quantized.w4a16")),
        Format("GPTQ-Int8", 8, None, "#b45f06", "#eda44f", ("-GPTQ-Int8",)),
        Format("GPTQ-Int4", 4, None, "#b8336a", "#f07fae", ("-GPTQ-Int4",)),
        Format("GPTQ-Int3", 3, None, "#9c3d9c", "#de8fde", ("-GPTQ-Int3",)),
        Format("GPTQ-Int2", 2, None, "#7b2f6b", "#cf86bd", ("-GPTQ-Int2",)),
        Format("AWQ", 4, None, "#17805a", "#5ecb9e", ("-AWQ", "-AWQ-INT4")),
        Format("MXFP4", 4, None, "#3d7a1f", "#9ccf6b", ("-MXFP4",)),
        Format("NVFP4", 4, None, "#56702a", "#b9cc7a", ("-NVFP4", "-FP4")),
        Format("BNB-Int8", 8, None, "#4a5aa8", "#a3b1f0", ("-bnb-8bit",)),
        Format("BNB-NF4", 4, None, "#3b3f8f", "#9195e8", ("-bnb-4bit",)),
        Format("BNB-FP4", 4, None, "#64548f", "#bba9e6"),
    )
}
"""All that have a place in tables and a colour in charts, by name, in the order of tables."""

_SUFFIX = re.compile("(" + "|".join(re.escape(s) for one in FORMATS.values() for s in one.suffixes) + ")$", re.I)
_PLACES = {name: place for place, name in enumerate(FORMATS)}
_BY_SUFFIX = {suffix.casefold(): one for one in FORMATS.values() for suffix in one.suffixes}


def named(name: str) -> Format:
    """The format of this name, with what all others have where it is not in the table."""
    return FORMATS.get(name) or Format(name)


def order(name: str) -> tuple[int, str]:
    """A sort key of formats by their names: as the table has them, others after them."""
    return (_PLACES.get(name, len(FORMATS)), name)


def format_of(quantization: Quantization | None, dtype: str) -> Format:
    """The format that a checkpoint declares: by its `quantization_config`, or by the type of plain weights.

    One that is not in the table has the name that the config gives it, and no bits.
    """
    if quantization is not None:
        return named(_clean(_declared(quantization)))
    return next((one for one in FORMATS.values() if one.dtype == dtype), Format(_clean(dtype)))


def in_name(model_id: str) -> Format | None:
    """The format that the end of a model's name tells; None where it tells none."""
    found = _SUFFIX.search(model_id)
    return _BY_SUFFIX[found[1].casefold()] if found else None


def base_name(model_id: str) -> str:
    """A model's name without the end that tells its format."""
    return _SUFFIX.sub("", model_id) or model_id


def scheme(kind: object, bits: int, input_bits: int = _UNQUANTIZED_BITS, group: int = 0) -> str:
    """The name of a format by its weights, of a `kind` int or float, and the inputs that they are multiplied with.

    `group` is the number of weights that share a scale: it tells NVFP4 from MXFP4 (OCP Microscaling Formats 1.0).
    """
    if kind != "float":
        return f"W{bits}A{input_bits}"
    if bits == 4:
        name = "NVFP4" if group == _NVFP4_GROUP else "MXFP4"
        return f"{name}A16" if name == "NVFP4" and input_bits == _UNQUANTIZED_BITS else name
    return f"FP{bits}"


def _declared(quantization: Quantization) -> str:
    method = str(quantization.get("quant_method", "")).casefold()
    bits = _whole(quantization.get("bits"))
    match method:
        case "gptq":
            return f"GPTQ-Int{bits}"
        case "awq":
            return "AWQ" if bits == 4 else f"AWQ-Int{bits}"
        case "bitsandbytes":
            four = str(quantization.get("bnb_4bit_quant_type", "fp4")).upper()
            return f"BNB-{four}" if quantization.get("load_in_4bit") else "BNB-Int8"
        case "modelopt" | "modelopt_fp4":
            return str(quantization.get("quant_algo", method))
        case "compressed-tensors":
            return _joined(_of_group(*group) for group in _items(quantization.get("config_groups")))
    return _METHODS.get(method) or method


def _of_group(name: str, group: object) -> str:
    """The format of one group of layers of compressed-tensors: a preset by its name, or a scheme of types and bits."""
    if not isinstance(group, Mapping):
        return name.upper().removesuffix("_DYNAMIC").removesuffix("_BLOCK").removesuffix("_ASYM")
    weights, inputs = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, Mapping):
        return ""
    input_bits = _whole(inputs.get("num_bits")) if isinstance(inputs, Mapping) else _UNQUANTIZED_BITS
    return scheme(weights.get("type"), _whole(weights.get("num_bits")), input_bits, _whole(weights.get("group_size")))


def _joined(names: Iterable[str]) -> str:
    """The format of all groups, or those of each: layers may differ."""
    return "+".join(sorted({name for name in names if name})) or "compressed-tensors"


def _items(value: object) -> list[tuple[str, object]]:
    return [(str(key), one) for key, one in value.items()] if isinstance(value, Mapping) else []


def _clean(name: str) -> str:
    """A name as it may stand in a table, whatever a config says."""
    return _UNSAFE.sub("", name)[:_LONGEST_NAME] or "unknown"


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
