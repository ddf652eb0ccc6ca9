import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speed_benchmark.errors import UserError
from speed_benchmark.models import checkpoint, published, rope, synthetic, weights
from speed_benchmark.models.config import text_config
from tests.shapes import published_shape


def config_of(name: str) -> dict[str, Any]:
    entry = published.lookup(name)
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
    assert published_shape(name).weight_bytes() == weight_bytes


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
    shards = synthetic.split(published_shape(name).each_tensor())
    assert len(shards) == files
    # Within a layer tensors are in another order than there: a few may come to other files, a digit further.
    spread = 16 if files > 1 else 0
    assert file_bytes is None or sum(shard.size_bytes for shard in shards) == pytest.approx(file_bytes, abs=spread)


def test_tensors_of_a_layer() -> None:
    shapes = {
        tensor.name: (tensor.dtype, tensor.shape) for tensor in published_shape("Qwen2.5-7B-Instruct-AWQ").each_tensor()
    }
    assert shapes["model.layers.27.mlp.down_proj.qweight"] == ("I32", (18944, 448))
    assert shapes["model.layers.0.self_attn.k_proj.bias"] == ("F16", (512,))
    assert "model.layers.0.self_attn.o_proj.bias" not in shapes
    assert shapes["lm_head.weight"] == ("F16", (152064, 3584))
    gptq = {tensor.name: tensor.shape for tensor in published_shape("Qwen2.5-7B-Instruct-GPTQ-Int8").each_tensor()}
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
    assert checkpoint.read_config(tmp_path) == config
    with pytest.raises(ValueError, match="add --weights synthetic"):
        weights.find(tmp_path, allow_pickle=False)


@pytest.mark.parametrize("model_type", ["qwen3", "deepseek_v3", "one.of-tomorrow"])
def test_no_architecture_is_refused(tmp_path: Path, model_type: str) -> None:
    config = {"model_type": model_type, "architectures": ["OneOfTomorrow"]}
    assert checkpoint.read_config(write(tmp_path, config)) == config


def test_sizes_are_those_of_the_language_model(tmp_path: Path) -> None:
    text = {"model_type": "gemma3_text", "vocab_size": 7, "max_position_embeddings": 100, "head_dim": None}
    config = {"model_type": "gemma3", "vocab_size": 5, "head_dim": 8, "text_config": text}
    assert text_config(checkpoint.read_config(write(tmp_path, config)))["vocab_size"] == 7
    assert text_config(config)["head_dim"] == 8
    assert rope.longest(config) == 100
    with pytest.raises(UserError, match=r"vocab_size in its config\.json is no whole number"):
        checkpoint.read_config(write(tmp_path, config | {"text_config": text | {"vocab_size": -1}}))


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
        ({}, "no model_type but 'None'"),
        (changed(model_type=["qwen2"]), "no model_type but"),
        (changed(model_type="../../evil"), "no model_type but '../../evil'"),
        (changed(architectures=["\x1b[31mred"]), r"architectures in its config.json are .*x1b\[31mred"),
        (changed(architectures="Qwen2ForCausalLM"), "architectures in its config.json"),
        (changed(max_position_embeddings=-5), "max_position_embeddings in its config.json is no whole number"),
        (changed(num_hidden_layers=0), "num_hidden_layers in its config.json is no whole number from 1 to 1024"),
        (changed(vocab_size=10**12), "vocab_size in its config.json is no whole number"),
        (changed(vocab_size=True), "vocab_size in its config.json is no whole number"),
        (changed(vocab_size="151936"), "vocab_size in its config.json is no whole number"),
        (changed(head_dim=-1), "head_dim in its config.json is no whole number"),
        (changed(torch_dtype="float8"), "torch_dtype"),
        (changed(rope_scaling=[4]), "rope_scaling"),
        (changed(rope_scaling={"type": "yarn", "factor": "4"}), "factor"),
        (changed(quantization_config="awq"), "quantization_config in its config.json is not a JSON object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_configs_are_refused_in_one_line(tmp_path: Path, content: object, said: str) -> None:
    write(tmp_path, content)
    with pytest.raises(UserError, match=said) as refused:
        checkpoint.read_config(tmp_path)
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


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,150}")

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
        config = checkpoint.read_config(folder)
    except UserError:
        return
    assert 1 <= rope.longest(config) <= rope.MAX_NUMBER
    assert NAME.fullmatch(synthetic.cache_folder(config, {}).name)
