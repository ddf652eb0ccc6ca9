"""Asking for shapes: the same as those that were written by hand, kept, and what happens to a config that lies."""

from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.models import published
from speed_benchmark.models.cost import token_cost
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes import asked, shipped
from speed_benchmark.models.shapes.asked import ShapeError, shape, shapes
from speed_benchmark.record.engine import Loaded
from tests.shapes import TINY, tiny

pytestmark = pytest.mark.slow

LOADED = Loaded(
    attention_implementation="sdpa", quantization="", dtype="", execution="", weight_bytes=0, rope="", devices=()
)
MODELS = [f"{size}-Instruct{suffix}" for size in ("0.5B", "7B") for suffix in ("", "-GPTQ-Int8", "-GPTQ-Int4", "-AWQ")]


@pytest.fixture(scope="module")
def asked_for(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Shape]]:
    """By the name of a Qwen2.5: its config, and what transformers says of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        entries = [published.lookup(f"Qwen2.5-{model}") for model in MODELS]
        configs = [entry.config for entry in entries if entry]
        found = [one for one in shapes(configs, anew=True) if isinstance(one, Shape)]
    return dict(zip(MODELS, zip(configs, found, strict=True), strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_qwen2_5_costs_what_it_is(model: str, asked_for: dict[str, tuple[dict[str, Any], Shape]]) -> None:
    config, shape = asked_for[model]
    assert shape == shipped.shape(config)
    heads = config["num_key_value_heads"] * config["hidden_size"] // config["num_attention_heads"]
    assert shape.kv_cache_bytes(1, 2) == 2 * 2 * config["num_hidden_layers"] * heads
    cost = token_cost(shape, EngineSettings(engine="fake"), LOADED, "layers")
    assert cost is not None
    assert shape.forward is not None
    assert shape.forward.flops == cost.flops
    assert shape.forward.flops - shape.forward.output_flops == cost.prefill_flops
    assert shape.decode_flops(101) - shape.decode_flops(100) == cost.attention_flops_per_token
    assert shape.read_bytes() == cost.weight_bytes
    assert shape.forward.widest_values == config["intermediate_size"]
    sizes = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    assert (shape.hidden_size, shape.attention_heads, shape.layer_count) == sizes


def test_a_shape_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = shape(TINY)
    monkeypatch.setattr(asked, "_ask", lambda _configs: pytest.fail("asked again"))
    assert shape(TINY) == first
    assert first.architecture == "Qwen2ForCausalLM"


def test_one_that_lies_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(asked, "LIMIT_S", 40)
    endless, unknown, absurd = (
        TINY | {"num_hidden_layers": 10**9},
        TINY | {"model_type": "x\n"},
        TINY | {"hidden_size": -1},
    )
    found = shapes([TINY, endless, unknown, tiny("-AWQ"), absurd])
    assert [isinstance(one, Shape) for one in found] == [True, False, False, True, False]
    assert all(str(one).isprintable() for one in found if isinstance(one, ShapeError))
    assert "more than 40 s" in str(found[1]) or "MemoryError" in str(found[1])
    assert "transformers knows no model_type 'x\\n'" in str(found[2])
    assert "RuntimeError" in str(found[4])


def test_code_of_a_model_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('ran').touch(); Model = object")
    found = shape(TINY | {"auto_map": {"AutoModelForCausalLM": "evil.Model"}, "_attn_implementation": "owner/kernel"})
    assert found.architecture == "Qwen2ForCausalLM"
    assert not (tmp_path / "ran").exists()


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(asked, "_versions", dict)
    with pytest.raises(ShapeError, match="only transformers knows: install it"):
        shape(TINY)
