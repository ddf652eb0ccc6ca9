"""Bytes and operations of steps, in models that are not dense or do not look at everything, counted by hand."""

from typing import Any

import pytest

from speed_benchmark.judge import work
from speed_benchmark.judge.memory_need import memory_need
from speed_benchmark.judge.roofline import roofline
from speed_benchmark.record.cost import Experts, LayerGroup, TokenCost
from speed_benchmark.record.machine import DevicePeaks
from tests.judge.judging import Make, again

DENSE = TokenCost(
    weight_bytes=1000, kv_cache_bytes_per_token=10, flops=4000, attention_flops_per_token=20, prefill_flops=3000
)
MIXTURE = DENSE.model_copy(update={"experts": Experts(count=4, active=1), "expert_bytes": 800})
FULL = LayerGroup(kind="full", count=1, values_per_token=2, flops_per_position=5)
SLIDING = LayerGroup(kind="sliding", count=3, values_per_token=1, window_tokens=8, flops_per_position=5)
STATE = LayerGroup(kind="state", count=2, values_per_token=0, state_bytes=70, flops_per_position=0)
LATENT = LayerGroup(kind="latent", count=2, values_per_token=5, flops_per_position=10, latent_flops_per_position=30)
WINDOWS = DENSE.model_copy(update={"layers": (FULL, SLIDING, STATE)})
PEAKS = DevicePeaks(device="test", bandwidths=((1, 1e6),), flops_per_s=1e12, matrix_dtype="bfloat16", torch="2")


def test_a_dense_model_costs_its_figures_times_tokens() -> None:
    assert work.weight_bytes(DENSE, 64) == 1000
    assert work.cache_bytes(DENSE, [7, 100]).tolist() == [70, 1000]
    assert work.attention_flops(DENSE, 100) == 2000
    assert work.prompt_attention_flops(DENSE, 4) == 20 * (1 + 2 + 3 + 4)


@pytest.mark.parametrize(("tokens", "touched"), [(1, 1.0), (2, 1.75), (3, 4 * (1 - 0.75**3)), (10_000, 4.0)])
def test_a_batch_reads_the_distinct_experts(tokens: int, touched: float) -> None:
    """200 bytes each, one of them among the 1000 of a single token."""
    assert work.weight_bytes(MIXTURE, tokens) == pytest.approx(1000 + 200 * (touched - 1))


def test_windows_cap_and_states_stay() -> None:
    """10 bytes of a token for 5 values: 4 in the full layer, 6 in those with windows of 8; 140 of states."""
    assert work.cache_bytes(WINDOWS, [4, 8, 20]).tolist() == [4 * 10 + 140, 8 * 10 + 140, 20 * 4 + 8 * 6 + 140]
    assert work.attention_flops(WINDOWS, 20) == 5 * 20 + 3 * 5 * 8
    one_by_one = sum(float(work.attention_flops(WINDOWS, position)) for position in range(1, 21))
    assert work.prompt_attention_flops(WINDOWS, 20) == one_by_one


def test_decoding_looks_at_compressed_vectors_as_they_are_kept() -> None:
    latent = DENSE.model_copy(update={"layers": (LATENT,)})
    assert work.cache_bytes(latent, 100) == 1000
    assert work.attention_flops(latent, 100) == 2 * 30 * 100
    assert work.prompt_attention_flops(latent, 2) == 2 * 10 * 3


def test_the_roofline_is_of_what_each_step_must_read(fake_record: Make) -> None:
    """5 tokens in and 101 out, 100 of them in 1 s, of three sequences at once."""
    cost = WINDOWS.model_copy(update={"experts": MIXTURE.experts, "expert_bytes": 800})
    before = fake_record((1.5, 1.5), workload={"batch_size": 3})
    found = roofline(again(before, token_cost=cost, device_peaks=PEAKS).record)
    assert found is not None
    weight_bytes = 1000 + 200 * (4 * (1 - 0.75**3) - 1)
    cache_bytes = sum(4 * position + 6 * min(position, 8) + 140 for position in range(6, 106))
    assert found.mbu == pytest.approx((100 * weight_bytes + 3 * cache_bytes) / 1e6)
    prompt_bytes = 1000 + 200 * (4 * (1 - 0.75**15) - 1) + 3 * (5 * 10 + 140)
    assert found.prefill_limit_tokens_per_s == pytest.approx(15 / (prompt_bytes / 1e6))


def test_windows_and_states_are_needed_in_whole_blocks(fake_record: Make) -> None:
    """106 tokens in blocks of 16 are 112; a spare block counts as one of all layers."""
    before = fake_record((1.5,))
    assert before.record.loaded is not None
    changed: dict[str, Any] = {
        "kv_cache_bytes_per_token": 10, "kv_cache_block_tokens": 16, "kv_cache_spare_blocks": 1, "preallocates": True
    }  # fmt: skip
    record = again(before, token_cost=WINDOWS, loaded=before.record.loaded.model_copy(update=changed)).record
    found = memory_need(record)
    assert found is not None
    assert found.kv_cache_bytes == 112 * 4 + 8 * 6 + 140 + 160


def test_no_more_experts_are_active_than_there_are() -> None:
    with pytest.raises(ValueError, match="5 of 4 experts"):
        Experts(count=4, active=5)
