"""Small models of many families on the engines, saved by transformers and made up, against their shapes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines.protocol import LoadRequest, Request, Sampling, UnsupportedError
from speed_benchmark.engines.transformers.engine import RunningTransformers, TransformersEngine
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes.asked import ShapeError, shapes
from speed_benchmark.models.synthetic import synthesize
from tests.models.families import FAMILIES, config_of

pytestmark = [pytest.mark.engine, pytest.mark.slow]

RECORDED = ("qwen3_moe", "gpt_oss", "qwen3_next")
PROMPT, TOKENS = (5, 7, 9, 11), 6
BFLOAT16_BYTES = 2


@pytest.fixture(scope="module")
def known() -> dict[str, Shape | ShapeError]:
    return dict(zip(FAMILIES, shapes([config_of(name) for name in FAMILIES]), strict=True))


def saved(name: str, folder: Path) -> Path:
    """As transformers saves a model whose values it draws."""
    own = CONFIG_MAPPING[name]
    model = AutoModelForCausalLM.from_config(own.from_dict(own._decode_special_floats(config_of(name))))
    model.save_pretrained(folder)
    return folder


def made_up(name: str, folder: Path) -> Path:
    """From the config alone."""
    return synthesize(config_of(name), {}, folder)


def check_generates(running: RunningTransformers) -> None:
    running.prepare(Request(prompts=(PROMPT,), generate_length=TOKENS, sampling=Sampling(), seed=0))
    heard: list[int] = []
    (ids,) = running.generate(heard.append)
    assert len(ids) == len(heard) == TOKENS


@pytest.mark.parametrize("make", [saved, made_up])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_runs_and_is_what_its_shape_says(
    name: str, make: Callable[[str, Path], Path], known: dict[str, Shape | ShapeError], tmp_path: Path
) -> None:
    shape = known[name]
    assert isinstance(shape, Shape), shape
    load = LoadRequest(
        checkpoint_dir=str(make(name, tmp_path / name)),
        settings=EngineSettings(engine="transformers"),
        max_total_tokens=len(PROMPT) + TOKENS,
    )
    with TransformersEngine().open(load) as running:
        loaded = running.loaded
        check_generates(running)
    assert (loaded.quantization, loaded.dtype, loaded.linear_inputs) == ("BF16", "bfloat16", ("bfloat16",))
    # A few values, like the correction of a router, are kept in 32 bits.
    assert loaded.weight_bytes == pytest.approx(shape.weight_bytes(), rel=1e-3)
    cache = [shape.kv_cache_bytes(tokens, BFLOAT16_BYTES) for tokens in (4, 5)]
    assert loaded.kv_cache_bytes_per_token == cache[1] - cache[0]
    assert loaded.finite_logits is True
    if loaded.experts_touched is not None:
        assert shape.experts is not None
        assert shape.experts.active <= loaded.experts_touched <= shape.experts.count


@pytest.mark.parametrize("name", RECORDED)
def test_a_family_has_a_record(
    name: str, command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    saved(name, tmp_path / name)
    ran = command(
        *("run", "--engine", "transformers", "--model_id_or_path", tmp_path / name, "--weights", "synthetic"),
        *("--context_length", 8, "--generate_length", 4, "--repeats", 1, "--outputs_dir", tmp_path / "records"),
    )
    assert ran.returncode == 0, ran.stderr
    (record,) = (json.loads(file.read_text()) for file in (tmp_path / "records").rglob("*.json"))
    assert record["outcome"] == "ok"
    assert record["loaded"]["quantization"] == record["checkpoint"]["quantization"] == "BF16"


def test_a_model_that_transformers_does_not_know_is_unsupported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such", "vocab_size": 8}))
    load = LoadRequest(checkpoint_dir=str(tmp_path), settings=EngineSettings(engine="transformers"), max_total_tokens=8)
    with pytest.raises(UnsupportedError, match="no_such") as caught, TransformersEngine().open(load):
        pass
    assert "\n" not in str(caught.value)


def test_weights_that_are_missing_are_unsupported(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path / "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    load = LoadRequest(checkpoint_dir=str(folder), settings=EngineSettings(engine="transformers"), max_total_tokens=8)
    with pytest.raises(UnsupportedError, match=r"no weights for model.layers.4"), TransformersEngine().open(load):
        pass


VLLM_RUNS = ("llama", "olmo2", "granite", "qwen3_moe", "gemma3_text", "cohere2")
VLLM_DOES_NOT = ("falcon_mamba",)
# vLLM's attention on the CPU is for heads of 32 values and more.
WIDER = {"hidden_size": 128, "head_dim": 32}


def test_families_on_vllm(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    configs: dict[str, dict[str, Any]] = {}
    for name in (*VLLM_RUNS, *VLLM_DOES_NOT):
        config = config_of(name)
        configs[name] = config | {key: size for key, size in WIDER.items() if key in config}
        own = CONFIG_MAPPING[name]
        model = AutoModelForCausalLM.from_config(own.from_dict(own._decode_special_floats(configs[name])))
        model.save_pretrained(tmp_path / name)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.engines.run_families", *(str(tmp_path / name) for name in configs)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    told = [json.loads(line.removeprefix("told ")) for line in ran.stdout.splitlines() if line.startswith("told ")]
    assert len(told) == len(configs), ran.stderr[-3000:]
    for name, shape, said in zip(configs, shapes(list(configs.values())), told, strict=True):
        if name in VLLM_DOES_NOT:
            assert said["error"] == "UnsupportedError", (name, said)
            assert "\n" not in said["text"]
            continue
        assert "error" not in said, (name, said)
        assert isinstance(shape, Shape)
        loaded = said["loaded"]
        assert loaded["quantization"] == "BF16"
        assert loaded["weight_bytes"] == pytest.approx(shape.weight_bytes(), rel=1e-3), name
        cache = [shape.kv_cache_bytes(tokens, BFLOAT16_BYTES) for tokens in (4, 5)]
        assert loaded["kv_cache_bytes_per_token"] == cache[1] - cache[0], name
        assert loaded["finite_logits"] is True
        assert [len(ids) for ids in said["ids"]] == [TOKENS]
