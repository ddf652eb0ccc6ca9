"""The table of weight formats: how a config declares one, how model ids name one, and how each looks."""

import itertools
from typing import Any

import pytest

from speed_benchmark.models.checkpoint import quantization_of
from speed_benchmark.models.published import published
from speed_benchmark.record import formats
from speed_benchmark.record.formats import FORMATS, OTHER, Format

INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "channel"}
FLOAT4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
PAPER, NIGHT = "#ffffff", "#12161c"


def groups(*schemes: tuple[dict[str, Any] | None, dict[str, Any] | None]) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {
            f"group_{number}": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
            for number, (weights, inputs) in enumerate(schemes)
        },
    }


DECLARED: list[tuple[dict[str, Any], str]] = [
    *(({"quant_method": "gptq", "bits": bits}, f"GPTQ-Int{bits}") for bits in (2, 3, 4, 8)),
    ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "AWQ"),
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "FP8"),
    ({"quant_method": "fbgemm_fp8"}, "FP8"),
    ({"quant_method": "mxfp4"}, "MXFP4"),
    ({"quant_method": "nvfp4"}, "NVFP4"),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "NVFP4"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "BNB-NF4"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "BNB-FP4"),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "BNB-Int8"),
    (groups((INT4, None)), "W4A16"),
    (groups((INT8, None)), "W8A16"),
    (groups((INT8, INT8)), "W8A8"),
    (groups((FLOAT8, FLOAT8)), "FP8"),
    (groups((FLOAT4, FLOAT4)), "NVFP4"),
    (groups((FLOAT4 | {"strategy": "group", "group_size": 32}, FLOAT4)), "MXFP4"),
    (groups((INT4, None), (INT4, None)), "W4A16"),
    ({"quant_method": "compressed-tensors", "config_groups": {"FP8_DYNAMIC": ["Linear"]}}, "FP8"),
    ({"quant_method": "compressed-tensors", "config_groups": {"W4A16_ASYM": ["Linear"]}}, "W4A16"),
]


@pytest.mark.parametrize(("quantization", "name"), DECLARED)
def test_a_config_declares_a_format_of_the_table(quantization: dict[str, Any], name: str) -> None:
    assert formats.format_of(quantization, "bfloat16") is FORMATS[name]
    assert quantization_of({"quantization_config": quantization}) == name


def test_plain_weights_go_by_their_type() -> None:
    plain = {dtype: formats.format_of(None, dtype) for dtype in ("bfloat16", "float16", "float32")}
    assert {dtype: (one.name, one.bits) for dtype, one in plain.items()} == {
        "bfloat16": ("BF16", 16),
        "float16": ("FP16", 16),
        "float32": ("FP32", 32),
    }
    assert [one for one in FORMATS.values() if one.is_plain] == list(plain.values())


@pytest.mark.parametrize(
    ("quantization", "name"),
    [
        ({"quant_method": "hqq", "bits": 4}, "hqq"),
        ({"quant_method": "gptq", "bits": 5}, "GPTQ-Int5"),
        ({"quant_method": "gptq", "bits": "four"}, "GPTQ-Int0"),
        (groups((INT4, None), (FLOAT8, FLOAT8)), "FP8+W4A16"),
        (groups((None, None)), "compressed-tensors"),
        ({"quant_method": "compressed-tensors", "config_groups": [1, 2]}, "compressed-tensors"),
        ({"quant_method": "\x1b[31m<script>"}, "31mscript"),
        ({"quant_method": "x" * 10_000}, "x" * 40),
        ({"quant_method": "\n\t\u202e"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_others_keep_a_name_that_may_be_shown(quantization: dict[str, Any], name: str) -> None:
    """No refusal: an engine says what it can't run. Nothing of a config reaches a terminal or a page as it is."""
    found = formats.format_of(quantization, "bfloat16")
    assert (found.name, found.bits, found.light) == (name, None, OTHER.light)


def test_the_end_of_an_id_tells_its_format() -> None:
    told = {
        "Qwen2.5-7B-Instruct-GPTQ-Int4": ("Qwen2.5-7B-Instruct", "GPTQ-Int4"),
        "Qwen2.5-7B-Instruct-gptq-int8": ("Qwen2.5-7B-Instruct", "GPTQ-Int8"),
        "Qwen3-8B-FP8": ("Qwen3-8B", "FP8"),
        "Qwen3-8B-FP8-dynamic": ("Qwen3-8B", "FP8"),
        "Meta-Llama-3.1-8B-Instruct-quantized.w4a16": ("Meta-Llama-3.1-8B-Instruct", "W4A16"),
        "Llama-3.2-1B-bnb-4bit": ("Llama-3.2-1B", "BNB-NF4"),
        "gpt-oss-20b": ("gpt-oss-20b", None),
        "-AWQ": ("-AWQ", "AWQ"),
    }
    for model_id, (base, name) in told.items():
        found = formats.in_name(model_id)
        assert (formats.base_name(model_id), found and found.name) == (base, name)


def test_published_configs_are_of_the_formats_that_their_ids_tell() -> None:
    told = {model_id: formats.in_name(model_id) for model_id in published()}
    quantized = {model_id: one.name for model_id, one in told.items() if one}
    assert len(quantized) > 30
    assert quantized == {model_id: quantization_of(published()[model_id].config) for model_id in quantized}
    assert all(quantization_of(model.config) in FORMATS for model in published().values())


def test_tables_have_the_order_of_the_table() -> None:
    names = ["zzz", "AWQ", "FP8", "aaa", "GPTQ-Int4", "BF16", "GPTQ-Int8"]
    assert sorted(names, key=formats.order) == ["BF16", "FP8", "GPTQ-Int8", "GPTQ-Int4", "AWQ", "aaa", "zzz"]


def test_colours_are_told_apart_and_legible() -> None:
    """Text of WCAG 2.2, level AA, on white and on the page's dark ground: 4.5 to 1."""
    shown = [*FORMATS.values(), OTHER]
    for shade, ground in (("light", PAPER), ("dark", NIGHT)):
        colours = [getattr(one, shade) for one in shown]
        assert len(set(colours)) == len(colours)
        assert min(contrast(colour, ground) for colour in colours) >= 4.5


def test_no_two_formats_have_a_suffix_in_common() -> None:
    ends = [suffix.casefold() for one in FORMATS.values() for suffix in one.suffixes]
    assert len(set(ends)) == len(ends)
    for one, other in itertools.permutations(FORMATS.values(), 2):
        assert not any(formats.in_name(f"model{suffix}") is other for suffix in one.suffixes)


def test_one_that_is_not_known_has_no_bits() -> None:
    assert formats.named("no such") == Format("no such", None)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, by WCAG 2.2."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
