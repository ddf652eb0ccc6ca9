"""What a token costs, against figures counted by hand."""

import json
from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.models import catalogue
from speed_benchmark.models.cost import work
from speed_benchmark.record.record import Loaded

LOADED = Loaded(
    attention_implementation="sdpa", quantization="", dtype="", execution="", weight_bytes=0, rope="", devices=()
)


def of(model: str, **settings: Any) -> Any:
    entry = catalogue.lookup(f"Qwen/Qwen2.5-{model}-Instruct")
    assert entry is not None
    return work(entry.config, EngineSettings(**{"engine": "transformers"} | settings), LOADED)


def test_small_model_in_bf16() -> None:
    """Qwen2.5-0.5B: 24 layers, hidden 896, 14 heads, 2 of them for keys and values, MLP 4864, vocabulary 151936."""
    block = 896 * 896 * 2 + 896 * 128 * 2 + 3 * 896 * 4864
    layers, output = 24 * block, 151936 * 896
    small = of("0.5B")
    assert small.flops == 2 * (layers + output)
    assert small.prefill_flops == 2 * layers
    assert small.attention_flops_per_token == 24 * 4 * 896
    assert small.kv_cache_bytes_per_token == 24 * 2 * 2 * 64 * 2
    assert small.weight_bytes == 988_065_536, "tied: all of the checkpoint is read for each token"


def test_large_model_reads_one_row_of_its_embedding() -> None:
    large = of("7B")
    all_bytes = 15_231_233_024  # of the published checkpoint's tensors
    assert large.weight_bytes == all_bytes - (152064 - 1) * 3584 * 2
    assert large.kv_cache_bytes_per_token == 28 * 2 * 4 * 128 * 2


@pytest.mark.parametrize(("suffix", "bits"), [("-GPTQ-Int4", 4), ("-GPTQ-Int8", 8), ("-AWQ", 4)])
def test_quantised_layers_are_read_packed_with_scales_and_zeros(suffix: str, bits: int) -> None:
    entry = catalogue.lookup(f"Qwen/Qwen2.5-7B-Instruct{suffix}")
    assert entry is not None
    config = entry.config
    mlp = config["intermediate_size"]
    weights = 28 * (3584 * 3584 * 2 + 3584 * 512 * 2 + 3 * 3584 * mlp)
    quantised = work(config, EngineSettings(engine="vllm", gpu_count=2), LOADED)
    assert quantised is not None
    assert quantised.prefill_flops == 2 * weights
    groups = weights // 128
    rest = 28 * (2 * 3584 + 3584 + 2 * 512) * 2 + 3584 * 2 + 152064 * 3584 * 2 + 3584 * 2
    assert quantised.weight_bytes == weights * bits // 8 + groups * 2 + groups * bits // 8 + rest
    assert quantised.devices_at_once == 2


def test_what_was_asked_for_and_loaded_counts() -> None:
    wide = of("0.5B", dtype="float32")
    assert wide.weight_bytes == 2 * 988_065_536
    assert wide.kv_cache_bytes_per_token == 2 * of("0.5B").kv_cache_bytes_per_token
    entry = catalogue.lookup("Qwen/Qwen2.5-0.5B-Instruct")
    assert entry is not None
    loaded = LOADED.model_copy(update={"kv_cache_bytes_per_token": 7})
    found = work(entry.config, EngineSettings(engine="transformers", gpu_count=2), loaded)
    assert found is not None
    assert found.kv_cache_bytes_per_token == 7
    assert found.devices_at_once == 1, "one GPU after the other"


def test_other_shapes_are_not_guessed() -> None:
    entry = catalogue.lookup("Qwen/Qwen2.5-0.5B-Instruct")
    assert entry is not None
    config = json.loads(json.dumps(entry.config)) | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    assert work(config, EngineSettings(engine="transformers"), LOADED) is None
