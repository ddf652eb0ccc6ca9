"""Decoding by depth, from the times of one run's tokens."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from speed_benchmark.judge.depth import BLOCK_TOKENS, LEAST_BLOCKS, MOST_BLOCKS, depth, line
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.judge.roofline import roofline
from speed_benchmark.record.cost import LayerGroup, TokenCost
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.record import Checkpoint, Profile, Record
from speed_benchmark.record.sample import Sample
from tests.judge.judging import Make, again
from tests.judge.stored import stored

COST = TokenCost(weight_bytes=10**6, kv_cache_bytes_per_token=10, flops=1, attention_flops_per_token=1, prefill_flops=1)
PEAKS = DevicePeaks(device="test", bandwidths=((1, 1e9),), flops_per_s=1e15, matrix_dtype="bfloat16", torch="2")
GROWTH_S, TOKEN_S, CONTEXT, TOKENS = 5e-7, 0.01, 5, 1000
SETTLING = 25  # the first gap that counts is that of the token with this index


def paced(before: Judged, busy: float = 0.9, **changed: Any) -> Judged:
    """The record of a device that is so busy, of a model of known cost."""
    return again(before, token_cost=COST, device_peaks=PEAKS, profile=Profile(device_busy_share=busy), **changed)


@pytest.fixture
def growing(fake_record: Make) -> Judged:
    """A request whose gaps grow along a line."""
    return fake_record(
        protocol={"repeats": 3},
        workload={"generate_length": TOKENS, "context_length": CONTEXT},
        token_s=TOKEN_S,
        token_growth_s=GROWTH_S,
    )


def test_a_line_is_found_exactly_and_gives_the_speeds(growing: Judged) -> None:
    found = paced(growing).judgement.depth
    assert found is not None
    assert found.slope_s_per_token == pytest.approx(GROWTH_S)
    assert (found.slope_low_s_per_token, found.slope_high_s_per_token) == pytest.approx((GROWTH_S, GROWTH_S))
    assert found.roof_slope_s_per_token == pytest.approx(10 / 1e9)
    assert [speed.context_tokens for speed in found.speeds] == [8192, 32768, 131072]
    times_s = growing.record.samples[0].sequences[0].token_times_s
    gap_s = times_s[501] - times_s[500]
    for speed in found.speeds:
        expected = 1 / (gap_s + GROWTH_S * (speed.context_tokens - CONTEXT - 501))
        assert speed.decode_tokens_per_s == pytest.approx(expected)
        assert (speed.low, speed.high) == pytest.approx((expected, expected))


def test_the_cache_of_every_sequence_grows(fake_record: Make) -> None:
    batch = {"generate_length": TOKENS, "batch_size": 4}
    found = paced(fake_record(workload=batch, token_s=TOKEN_S, token_growth_s=GROWTH_S)).judgement.depth
    assert found is not None
    assert found.roof_slope_s_per_token == pytest.approx(4 * 10 / 1e9)
    assert found.speeds[0].decode_tokens_per_s == pytest.approx(4 / (TOKEN_S + 8192 * GROWTH_S), rel=0.01)


def test_a_line_holds_only_as_far_as_the_same_layers_grow(growing: Judged) -> None:
    """Windows of 100 tokens were full before most tokens came, those of 20,000 are not yet."""
    full = LayerGroup(kind="full", count=1, values_per_token=1, flops_per_position=1)
    for window, depths, grown_bytes in ((100, [8192, 32768, 131072], 2.5), (20_000, [8192], 10)):
        sliding = LayerGroup(kind="sliding", count=3, values_per_token=1, window_tokens=window, flops_per_position=1)
        cost = COST.model_copy(update={"layers": (full, sliding)})
        found = again(paced(growing), token_cost=cost).judgement.depth
        assert found is not None
        assert found.roof_slope_s_per_token == pytest.approx(grown_bytes / 1e9)
        assert [speed.context_tokens for speed in found.speeds] == depths


def test_one_that_the_host_paces_has_none(growing: Judged) -> None:
    assert paced(growing, busy=0.5).judgement.depth is None
    assert growing.judgement.depth is None, "no limits, so that nothing says what paces it"


@pytest.mark.parametrize(
    ("reach", "loaded_for", "depths"),
    [
        (32768, None, [8192, 32768]),
        (32767, None, [8192]),
        (131072, 9000, [8192, 32768, 131072]),  # the model's reach, not that of this load
        (None, 9000, [8192]),
        (None, None, [8192, 32768, 131072]),
    ],
)
def test_no_further_than_the_model_reaches(
    growing: Judged, reach: int | None, loaded_for: int | None, depths: list[int]
) -> None:
    assert growing.record.loaded is not None
    loaded = growing.record.loaded.model_copy(update={"max_model_len": loaded_for})
    found = paced(growing, loaded=loaded, checkpoint=Checkpoint(source="local", max_positions=reach)).judgement.depth
    assert found is not None
    assert [speed.context_tokens for speed in found.speeds] == depths


def with_gaps(record: Record, *gaps_s: list[float]) -> Record:
    """The record with repeats of these gaps after a first token at 1 s."""
    sample = record.samples[0]

    def made(gaps: list[float]) -> Sample:
        times_s = [1.0]
        for gap_s in gaps:
            times_s.append(times_s[-1] + gap_s)
        sequence = sample.sequences[0].model_copy(update={"token_times_s": tuple(times_s)})
        return sample.model_copy(update={"sequences": (sequence,), "duration_s": times_s[-1]})

    return record.model_copy(update={"samples": tuple(map(made, gaps_s))})


def test_stalls_settling_and_the_last_gap_do_not_tilt_it(growing: Judged) -> None:
    even = [TOKEN_S + GROWTH_S * index for index in range(TOKENS)]
    disturbed = [1.0] * (SETTLING - 1) + even[SETTLING - 1 : -1] + [3.0]
    for index in range(30, TOKENS - 1, 50):
        disturbed[index] += 0.5
    found = line(with_gaps(growing.record, even, disturbed, even))
    assert found is not None
    assert found.slope_s == pytest.approx(GROWTH_S, rel=0.02)


def test_a_slope_that_is_not_known_well_gives_a_range_or_nothing(growing: Judged) -> None:
    """Each block has a pace of its own: the interval of the slope is wide, and says nothing far away."""
    paces_s = np.random.default_rng(1).normal(TOKEN_S, 0.02 * TOKEN_S, TOKENS // BLOCK_TOKENS + 1)
    uneven = [float(paces_s[index // BLOCK_TOKENS]) for index in range(TOKENS)]
    record = with_gaps(paced(growing).record, uneven)
    found = depth(record, roofline(record))
    assert found is not None
    assert found.slope_low_s_per_token < 0 < found.slope_high_s_per_token
    assert [speed.context_tokens for speed in found.speeds] == [8192]
    assert 1.05 < found.speeds[0].high / found.speeds[0].low < 1.5


def test_too_few_tokens_show_no_slope(growing: Judged) -> None:
    fewest = SETTLING + (LEAST_BLOCKS - 1) * BLOCK_TOKENS + 1  # the last gap is left out
    even = [TOKEN_S] * TOKENS
    assert line(with_gaps(growing.record, even[: fewest - 1])) is None
    assert line(with_gaps(growing.record, even[:fewest])) is not None
    assert line(with_gaps(growing.record, [])) is None


def test_the_pairs_of_a_long_output_are_bounded(growing: Judged) -> None:
    """All pairs of blocks are looked at: a long output has longer blocks, and not more of them."""
    found = line(with_gaps(growing.record, [TOKEN_S] * (3 * BLOCK_TOKENS * MOST_BLOCKS)))
    assert found is not None
    assert found.slope_s == pytest.approx(0.0, abs=1e-12)


def test_a_quick_measurement_shows_nothing_by_which_its_slope_is_known(growing: Judged) -> None:
    record = paced(growing).record
    cell = replace(record.cell, protocol=replace(record.cell.protocol, quick=True))
    assert line(record.model_copy(update={"cell": cell})) is None


def test_stored_records_of_one_model_agree_on_its_slope() -> None:
    """7B on vLLM, two hosts: each interval holds the slope that all of them have on average, 13 to 17 ns a token."""
    lines = [line(record) for record in stored("vllm", 6144, model="Qwen2.5-7B-Instruct", quick=False)]
    assert len(lines) == 4
    slopes_s = [found.slope_s for found in lines if found]
    mean_s = sum(slopes_s) / len(lines)
    assert 13e-9 < mean_s < 17e-9
    assert sum(found.slope_low_s <= mean_s <= found.slope_high_s for found in lines if found) >= 3


def test_stored_records_tell_the_speed_at_another_depth() -> None:
    """By the line through the outputs of short prompts: within 2 % of what was measured at 8k."""
    (short,) = stored("vllm", 1, model="Qwen2.5-7B-Instruct")
    found = depth(short, roofline(short))
    assert found is not None
    for record in stored("vllm", 6144, model="Qwen2.5-7B-Instruct", quick=False):
        deep = line(record)
        assert deep is not None
        assert found.speeds[0].decode_tokens_per_s == pytest.approx(1 / float(deep.gap_at(8192)), rel=0.02)
