import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speed_benchmark.errors import UserError
from speed_benchmark.models import catalogue, checkpoint, synthetic, weights


def config_of(name: str) -> dict[str, Any]:
    entry = catalogue.lookup(name)
    assert entry is not None
    return dict(entry.config)


# As seen on real checkpoints: the total_size of their index files, or the size of the file (headers included).
@pytest.mark.parametrize(
    ("name", "weight_bytes"),
    [
        ("Qwen2.5-0.5B-Instruct", 988_065_536),
        ("Qwen2.5-0.5B-Instruct-GPTQ-Int8", 639_608_576),
        ("Qwen2.5-0.5B-Instruct-GPTQ-Int4", 459_297_536),
        ("Qwen2.5-0.5B-Instruct-AWQ", 458_314_496),
        ("Qwen2.5-7B-Instruct", 15_231_233_024),
        ("Qwen2.5-72B-Instruct", 145_412_407_296),
    ],
)
def test_weight_bytes(name: str, weight_bytes: int) -> None:
    assert checkpoint.weight_bytes(config_of(name)) == weight_bytes


@pytest.mark.parametrize(
    ("name", "files", "file_bytes"),
    [
        ("Qwen2.5-1.5B-Instruct-GPTQ-Int4", 1, 1_149_862_960),
        ("Qwen2.5-3B-Instruct-GPTQ-Int4", 1, 2_067_756_448),
        ("Qwen2.5-7B-Instruct-GPTQ-Int4", 2, 5_575_381_144),
        ("Qwen2.5-72B-Instruct", 37, None),
    ],
)
def test_files_are_split_and_sized_as_the_published_ones(name: str, files: int, file_bytes: int | None) -> None:
    shards = synthetic.split(checkpoint.tensors(config_of(name)))
    assert len(shards) == files
    assert file_bytes is None or sum(shard.size_bytes for shard in shards) == file_bytes


def test_tensors_of_a_layer() -> None:
    shapes = {
        tensor.name: (tensor.dtype, tensor.shape) for tensor in checkpoint.tensors(config_of("Qwen2.5-7B-Instruct-AWQ"))
    }
    assert shapes["model.layers.27.mlp.down_proj.qweight"] == ("I32", (18944, 448))
    assert shapes["model.layers.0.self_attn.k_proj.bias"] == ("F16", (512,))
    assert "model.layers.0.self_attn.o_proj.bias" not in shapes
    assert shapes["lm_head.weight"] == ("F16", (152064, 3584))
    gptq = {tensor.name: tensor.shape for tensor in checkpoint.tensors(config_of("Qwen2.5-7B-Instruct-GPTQ-Int8"))}
    assert gptq["model.layers.0.mlp.down_proj.qweight"] == (4736, 3584)
    assert gptq["model.layers.0.mlp.down_proj.qzeros"] == (148, 896)
    assert gptq["model.layers.0.mlp.down_proj.g_idx"] == (18944,)


def write(folder: Path, content: object, *, weights: bool = False) -> Path:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "config.json").write_bytes(text)
    if weights:
        (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_folder_with_only_a_config(tmp_path: Path) -> None:
    config = config_of("Qwen2.5-0.5B-Instruct")
    write(tmp_path, config)
    assert checkpoint.read_config(tmp_path, synthetic=True) == config
    with pytest.raises(ValueError, match="add --weights synthetic"):
        weights.find(tmp_path, allow_pickle=False)


@pytest.mark.parametrize("model_type", ["qwen3", "llama", "mistral"])
def test_other_architectures_need_their_weights(tmp_path: Path, model_type: str) -> None:
    config = config_of("Qwen2.5-0.5B-Instruct") | {
        "model_type": model_type,
        "architectures": [checkpoint.ARCHITECTURES[model_type]],
    }
    write(tmp_path, config, weights=True)
    assert checkpoint.read_config(tmp_path) == config
    with pytest.raises(UserError, match="made-up weights are for Qwen2ForCausalLM only"):
        checkpoint.read_config(tmp_path, synthetic=True)


def without(key: str) -> dict[str, Any]:
    config = config_of("Qwen2.5-0.5B-Instruct")
    del config[key]
    return config


def changed(**values: object) -> dict[str, Any]:
    return config_of("Qwen2.5-0.5B-Instruct") | values


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"hidden_size": NaN}', "is not JSON"),
        (b'{"hidden_size": 1e999}', "is not JSON"),
        (b'{"hidden_size": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'{"x": "\\ud800"}', "is not JSON"),
        (b" " * 1_000_001, "is larger than 1000000 bytes"),
        ([1], "is not a JSON object"),
        ({}, "no engine here runs; take Qwen2ForCausalLM, Qwen3ForCausalLM, LlamaForCausalLM, MistralForCausalLM"),
        (changed(model_type="gpt2", architectures=["GPT2LMHeadModel"]), "is a 'GPT2LMHeadModel', which no engine"),
        (changed(architectures=["Qwen2ForSequenceClassification"]), "no engine here runs"),
        (changed(architectures=["\x1b[31mred"]), r"is a '\\x1b\[31mred'"),
        (changed(model_type=["qwen2"]), "no engine here runs"),
        (without("hidden_size"), "has no hidden_size"),
        (without("max_position_embeddings"), "has no max_position_embeddings"),
        (changed(num_hidden_layers=0), "num_hidden_layers in its config.json is no whole number from 1 to 1024"),
        (changed(vocab_size=10**12), "vocab_size in its config.json is no whole number"),
        (changed(vocab_size=True), "vocab_size in its config.json is no whole number"),
        (changed(vocab_size="151936"), "vocab_size in its config.json is no whole number"),
        (changed(num_attention_heads=13), "do not divide evenly"),
        (changed(num_key_value_heads=3), "do not divide evenly"),
        (changed(head_dim=96), "head_dim in its config.json is not hidden_size"),
        (changed(head_dim=-1), "head_dim in its config.json is no whole number"),
        (changed(torch_dtype="float8"), "torch_dtype"),
        (changed(rope_scaling=[4]), "rope_scaling"),
        (changed(rope_scaling={"type": "yarn", "factor": "4"}), "factor"),
        (changed(quantization_config="awq"), "quantised in a way"),
        (changed(quantization_config={"quant_method": "fp8"}), "quantised in a way"),
        (changed(quantization_config={"quant_method": "gptq", "bits": 3}), "quantised in a way"),
        (changed(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": -1}), "in groups"),
        (changed(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 1024}), "no multiples"),
        (changed(quantization_config={"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemv"}), "gemm"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_configs_are_refused_in_one_line(tmp_path: Path, content: object, said: str) -> None:
    write(tmp_path, content)
    with pytest.raises(UserError, match=said) as refused:
        checkpoint.read_config(tmp_path, synthetic=True)
    assert str(refused.value).startswith("--model_id_or_path ")
    assert str(refused.value).isprintable()


def test_folders_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        checkpoint.read_config(tmp_path)
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UserError, match=r"has no config\.json"):
        checkpoint.read_config(tmp_path)


def test_generation_config(tmp_path: Path) -> None:
    assert checkpoint.read_generation_config(tmp_path) == {}
    (tmp_path / "generation_config.json").write_text('{"top_k": 20}')
    assert checkpoint.read_generation_config(tmp_path) == {"top_k": 20}
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(UserError, match=r"generation_config\.json is not JSON"):
        checkpoint.read_generation_config(tmp_path)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    changes=st.dictionaries(
        st.sampled_from(
            [*config_of("Qwen2.5-0.5B-Instruct-GPTQ-Int4"), "rope_scaling", "rope_parameters", "dtype", "head_dim"]
        ),
        _json,
        max_size=4,
    )
)
@settings(max_examples=300, deadline=None)
def test_no_config_gets_past_the_check_and_fails_later(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    folder = write(tmp_path_factory.mktemp("model"), config_of("Qwen2.5-0.5B-Instruct-GPTQ-Int4") | changes)
    try:
        config = checkpoint.read_config(folder, synthetic=True)
    except UserError:
        return
    assert checkpoint.weight_bytes(config) > 0
    assert synthetic.cache_folder(config, {}).name.startswith("qwen2-")
