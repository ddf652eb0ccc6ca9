"""What a token costs, against figures counted by hand."""

from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.models import catalogue, checkpoint
from speed_benchmark.models.cost import token_cost
from speed_benchmark.record.engine import Loaded
from speed_benchmark.record.record import TokenCost
from tests.shapes import TINY

LOADED = Loaded(
    attention_implementation="sdpa", quantization="", dtype="", execution="", weight_bytes=0, rope="", devices=()
)


def config_of(model: str) -> dict[str, Any]:
    entry = catalogue.lookup(f"Qwen/Qwen2.5-{model}-Instruct")
    assert entry is not None
    return entry.config


def cost(config: dict[str, Any], dtype: Any = "auto") -> TokenCost | None:
    return token_cost(config, EngineSettings(engine="fake", dtype=dtype), LOADED, "layers")


def of(model: str, dtype: Any = "auto") -> TokenCost:
    found = cost(config_of(model), dtype)
    assert found is not None
    return found


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
    quantised = token_cost(config, EngineSettings(engine="fake", gpu_count=2), LOADED, "tensor")
    assert quantised is not None
    assert quantised.prefill_flops == 2 * weights
    groups = weights // 128
    rest = 28 * (2 * 3584 + 3584 + 2 * 512) * 2 + 3584 * 2 + 152064 * 3584 * 2 + 3584 * 2
    assert quantised.weight_bytes == weights * bits // 8 + groups * 2 + groups * bits // 8 + rest
    assert quantised.devices_at_once == 2


def test_what_was_asked_for_and_loaded_counts() -> None:
    wide = of("0.5B", "float32")
    assert wide.weight_bytes == 2 * 988_065_536
    assert wide.kv_cache_bytes_per_token == 2 * of("0.5B").kv_cache_bytes_per_token
    loaded = LOADED.model_copy(update={"kv_cache_bytes_per_token": 7})
    found = token_cost(config_of("0.5B"), EngineSettings(engine="fake", gpu_count=2), loaded, "layers")
    assert found is not None
    assert found.kv_cache_bytes_per_token == 7
    assert found.devices_at_once == 1, "one GPU after the other"


def test_a_split_of_each_layer_over_no_gpu_is_one_device() -> None:
    found = token_cost(TINY, EngineSettings(engine="fake"), LOADED, "tensor")
    assert found is not None
    assert found.devices_at_once == 1


def test_the_cache_has_the_type_of_the_checkpoint_where_none_is_asked_for() -> None:
    plain, wide = cost(TINY), cost(TINY | {"torch_dtype": "float32"})
    assert plain is not None
    assert wide is not None
    assert wide.kv_cache_bytes_per_token == 2 * plain.kv_cache_bytes_per_token


def test_heads_may_be_wider_than_their_share_of_the_model() -> None:
    """2 layers, hidden 256, 4 heads of 128 values, 2 of them for keys and values, MLP 512, vocabulary 2048."""
    found = cost(TINY | {"head_dim": 128})
    assert found is not None
    query, key_value = 4 * 128, 2 * 128
    linear = 2 * (2 * 256 * query + 2 * 256 * key_value + 3 * 256 * 512)
    rest = 2 * (2 * 256 + query + 2 * key_value) + 256 + 2048 * 256
    assert found.prefill_flops == 2 * linear
    assert found.weight_bytes == 2 * (linear + rest)
    assert found.attention_flops_per_token == 2 * 4 * query
    assert found.kv_cache_bytes_per_token == 2 * 2 * key_value * 2
    assert checkpoint.kv_values_per_token(TINY | {"head_dim": 128}) == 2 * 2 * key_value


def test_values_in_the_cache_without_heads_of_their_own_for_keys() -> None:
    config = {key: value for key, value in TINY.items() if key != "num_key_value_heads"}
    assert checkpoint.kv_values_per_token(config) == 2 * 2 * 256
    assert checkpoint.kv_values_per_token(TINY) == 2 * 2 * 128


@pytest.mark.parametrize(
    "changed",
    [
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
        {"torch_dtype": "float8_e4m3fn"},
        {"dtype": "float64"},
        {"quantization_config": {"quant_method": "fp8", "bits": 8}},
        {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 0}},
        {"num_hidden_layers": None},
        {"head_dim": "128"},
        {"head_dim": 63},
    ],
    ids=str,
)
def test_what_is_not_known_is_not_guessed(changed: dict[str, Any]) -> None:
    assert cost(TINY | changed) is None


def test_a_weight_type_of_its_own_in_what_was_loaded_is_no_error() -> None:
    loaded = LOADED.model_copy(update={"quantization": "F8_E4M3", "dtype": "float8_e4m3fn"})
    assert token_cost(TINY, EngineSettings(engine="fake"), loaded, "layers") is not None
