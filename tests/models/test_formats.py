"""Formats of weights, as the quantisers' own modules hold them, against sizes known or counted by hand."""

from typing import Any

import pytest

from speed_benchmark.models.published import published
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes.asked import ShapeError, shapes

pytestmark = pytest.mark.slow

HIDDEN, MLP, LAYERS, VOCABULARY, EXPERTS, EXPERT_MLP = 256, 512, 2, 1024, 8, 128
DENSE: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": HIDDEN,
    "intermediate_size": MLP,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
MIXTURE = DENSE | {
    "model_type": "qwen3_moe",
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": EXPERT_MLP,
}
ATTENTION = 2 * HIDDEN * 256 + 2 * HIDDEN * 128
LINEAR = {
    "dense": LAYERS * (ATTENTION + 3 * HIDDEN * MLP),
    "mixture": LAYERS * (ATTENTION + EXPERTS * 3 * HIDDEN * EXPERT_MLP),
}
LINEAR_LAYERS = {"dense": LAYERS * 7, "mixture": LAYERS * (4 + EXPERTS * 3)}
OUTPUTS = {
    "dense": LAYERS * (256 + 2 * 128 + HIDDEN + 2 * MLP + HIDDEN),
    "mixture": LAYERS * (256 + 2 * 128 + HIDDEN + EXPERTS * (2 * EXPERT_MLP + HIDDEN)),
}
INPUTS = {
    "dense": LAYERS * (3 * HIDDEN + 256 + 2 * HIDDEN + MLP),
    "mixture": LAYERS * (3 * HIDDEN + 256 + EXPERTS * (2 * HIDDEN + EXPERT_MLP)),
}
NORMS = LAYERS * (2 * HIDDEN + 2 * 64) + HIDDEN
PLAIN_BYTES = {
    "dense": 2 * (2 * VOCABULARY * HIDDEN + NORMS),
    "mixture": 2 * (2 * VOCABULARY * HIDDEN + NORMS + LAYERS * EXPERTS * HIDDEN),
}


def compressed(form: str, weights: dict[str, Any], activations: dict[str, Any] | None = None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


def integers(bits: int, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": "int", "symmetric": True, **more}


FLOAT = {"num_bits": 8, "type": "float", "symmetric": True}
FP4 = {
    "num_bits": 4,
    "type": "float",
    "symmetric": True,
    "strategy": "tensor_group",
    "group_size": 16,
    "scale_dtype": "torch.float8_e4m3fn",
}
FORMATS: dict[str, dict[str, Any]] = {
    "GPTQ-2": {"quant_method": "gptq", "bits": 2, "group_size": 128, "desc_act": False, "sym": True},
    "GPTQ-3": {"quant_method": "gptq", "bits": 3, "group_size": 128, "desc_act": False, "sym": True},
    "GPTQ-4": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    "GPTQ-8": {"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": False, "sym": True},
    "AWQ": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True},
    "FP8": {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128]},
    "W4A16": compressed("pack-quantized", integers(4, strategy="group", group_size=128)),
    "W8A16": compressed("pack-quantized", integers(8, strategy="channel")),
    "W8A8": compressed("int-quantized", integers(8, strategy="channel"), integers(8, strategy="token", dynamic=True)),
    "FP8-channel": compressed(
        "float-quantized", FLOAT | {"strategy": "channel"}, FLOAT | {"strategy": "token", "dynamic": True}
    ),
    "NVFP4": compressed(
        "nvfp4-pack-quantized",
        FP4 | {"dynamic": False},
        FP4 | {"dynamic": "local"},
    ),
    "FP8-tensor": compressed(
        "float-quantized", FLOAT | {"strategy": "tensor"}, FLOAT | {"strategy": "tensor", "dynamic": False}
    ),
}


def linear_bytes(model: str, name: str) -> int:
    """What the linear layers take: packed weights, and what each group, output, layer or input adds."""
    weights, layers, outputs, inputs = LINEAR[model], LINEAR_LAYERS[model], OUTPUTS[model], INPUTS[model]
    if name.startswith("GPTQ-"):
        bits = int(name[-1])
        return weights * bits // 8 + weights // 128 * 2 + weights // 128 * bits // 8 + inputs * 4
    return {
        "AWQ": weights // 2 + weights // 128 * 2 + weights // 128 // 2,
        "W4A16": weights // 2 + weights // 128 * 2 + layers * 16,
        "W8A16": weights + outputs * 2 + layers * 16,
        "W8A8": weights + outputs * 2,
        "FP8-channel": weights + outputs * 2,
        "FP8-tensor": weights + layers * 2 * 2,
        "NVFP4": weights // 2 + weights // 16 + layers * 2 * 4,
        "FP8": weights + weights // 128**2 * 4,
    }[name]


CASES = [(model, name) for model in ("dense", "mixture") for name in FORMATS]
KNOWN = {"Qwen/Qwen3-8B-FP8": 9.44e9, "Qwen/Qwen3-8B-AWQ": 6.10e9}

Asked = dict[tuple[str, str], Shape | ShapeError]


@pytest.fixture(scope="module")
def asked_for(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        models = {"dense": DENSE, "mixture": MIXTURE}
        configs = [models[model] | {"quantization_config": FORMATS[name]} for model, name in CASES]
        known = [published()[name].config for name in KNOWN]
        return dict(zip([*CASES, *((name, "") for name in KNOWN)], shapes(configs + known, anew=True), strict=True))


@pytest.mark.parametrize(("model", "name"), CASES)
def test_each_linear_layer_is_packed_experts_too(model: str, name: str, asked_for: Asked) -> None:
    shape = asked_for[model, name]
    assert isinstance(shape, Shape), shape
    assert shape.weight_bytes() == PLAIN_BYTES[model] + linear_bytes(model, name)
    assert shape.parameters() == PLAIN_BYTES[model] // 2 + LINEAR[model]
    assert shape.forward is not None


def test_experts_have_the_names_of_a_published_checkpoint(asked_for: Asked) -> None:
    shape = asked_for["mixture", "FP8"]
    assert isinstance(shape, Shape)
    found = {tensor.name: (tensor.dtype, tensor.shape) for tensor in shape.each_tensor()}
    assert found["model.layers.1.mlp.experts.7.down_proj.weight"] == ("F8_E4M3", (256, 128))
    assert found["model.layers.1.mlp.experts.7.down_proj.weight_scale_inv"] == ("F32", (2, 1))
    assert found["model.layers.1.mlp.gate.weight"] == ("BF16", (8, 256))


@pytest.mark.parametrize("name", KNOWN)
def test_known_sizes(name: str, asked_for: Asked) -> None:
    shape = asked_for[name, ""]
    assert isinstance(shape, Shape), shape
    assert shape.weight_bytes() == pytest.approx(KNOWN[name], rel=0.001)
