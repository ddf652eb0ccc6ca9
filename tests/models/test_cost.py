"""What a token costs, against figures counted by hand."""

from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines import registry
from speed_benchmark.models import published
from speed_benchmark.models.cost import token_cost
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.cost import Experts, TokenCost
from speed_benchmark.record.engine import Loaded
from speed_benchmark.record.folder import records
from speed_benchmark.record.record import Record
from tests.shapes import published_shape

RESULTS = Path(__file__).parents[2] / "results"

LOADED = Loaded(
    attention_implementation="sdpa", quantization="", dtype="", execution="", weight_bytes=0, rope="", devices=()
)


def cost(shape: Shape, dtype: Any = "auto", loaded: Loaded = LOADED) -> TokenCost:
    found = token_cost(shape, EngineSettings(engine="fake", gpu_count=2, dtype=dtype), loaded, "tensor")
    assert found is not None
    return found


def of(model: str, dtype: Any = "auto") -> TokenCost:
    return cost(published_shape(f"Qwen/Qwen2.5-{model}-Instruct"), dtype)


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
    weights = 28 * (3584 * 3584 * 2 + 3584 * 512 * 2 + 3 * 3584 * 18944)
    quantised = cost(published_shape(f"Qwen/Qwen2.5-7B-Instruct{suffix}"))
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
    assert cost(published_shape("Qwen/Qwen2.5-0.5B-Instruct"), loaded=loaded).kv_cache_bytes_per_token == 7


@pytest.mark.parametrize(("split", "gpus", "at_once"), [("tensor", 2, 2), ("layers", 2, 1), ("tensor", 0, 1)])
def test_a_step_is_split_or_its_layers_take_turns(split: Any, gpus: int, at_once: int) -> None:
    shape = published_shape("Qwen/Qwen2.5-0.5B-Instruct")
    found = token_cost(shape, EngineSettings(engine="fake", gpu_count=gpus), LOADED, split)
    assert found is not None
    assert found.devices_at_once == at_once


def test_a_dense_model_with_full_attention_is_told_by_figures_of_a_token_alone() -> None:
    dense = of("7B")
    assert (dense.layers, dense.experts, dense.expert_bytes) == ((), None, 0)


def test_a_mixture_of_experts_reads_the_active_ones() -> None:
    """Qwen3-30B-A3B: 48 layers, 8 of 128 experts with 3 times 2048 x 768 weights."""
    mixture = cost(published_shape("Qwen/Qwen3-30B-A3B"))
    assert mixture.experts == Experts(count=128, active=8)
    assert mixture.expert_bytes == 48 * 128 * 3 * 2048 * 768 * 2
    assert mixture.layers == ()
    attention = 2048 * 4096 * 2 + 2048 * 512 * 2
    others = 48 * (attention + 2048 * 128 + 2 * 2048 + 2 * 128) + 2048 + 151936 * 2048
    assert mixture.weight_bytes == 2 * (others + 2048) + mixture.expert_bytes // 16


def test_windows_states_and_latents_are_kept_by_layer() -> None:
    gemma, hybrid, latent = map(
        published_shape, ("google/gemma-3-4b-it", "Qwen/Qwen3-Next-80B-A3B-Instruct", "deepseek-ai/DeepSeek-V3")
    )
    assert [(group.kind, group.count, group.window_tokens) for group in cost(gemma).layers] == [
        ("sliding", 29, 1024),
        ("full", 5, None),
    ]
    assert cost(gemma).kv_cache_bytes_per_token == 34 * 2 * 4 * 256 * 2
    assert [(group.kind, group.state_bytes) for group in cost(hybrid).layers] == [("state", 2162688), ("full", 0)]
    assert cost(hybrid).kv_cache_bytes_per_token == 12 * 2 * 2 * 256 * 2
    assert cost(latent).kv_cache_bytes_per_token == 61 * 576 * 2


def test_what_is_not_known_is_not_guessed() -> None:
    """Neither of a model that does not run without values, nor of one that is larger than a record can say."""
    shape = published_shape("Qwen/Qwen2.5-0.5B-Instruct")
    assert shape.forward is not None
    settings = EngineSettings(engine="fake")
    assert token_cost(shape.model_copy(update={"forward": None}), settings, LOADED, "layers") is None
    endless = shape.forward.model_copy(update={"flops": 2**54})
    assert token_cost(shape.model_copy(update={"forward": endless}), settings, LOADED, "layers") is None


def test_stored_records_of_dense_models_cost_what_they_did() -> None:
    """All of a published Qwen2.5 in results/: to the byte and the operation."""
    compared = 0
    for record in (record for _, record in records(RESULTS) if isinstance(record, Record) and record.token_cost):
        entry = published.lookup(record.cell.model.model_id_or_path)
        if entry is not None and "Qwen2.5" in entry.model_id:
            split = registry.settings_of(record.cell.settings).traits.split
            found = token_cost(published_shape(entry.model_id), record.cell.settings, record.loaded, split)
            assert found == record.token_cost
            compared += 1
    assert compared > 40
