"""Limits against figures counted by hand."""

from typing import Any

import pytest

from speed_benchmark.judge.judgement import Judged, Roofline
from speed_benchmark.judge.roofline import bandwidth
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.record import Profile
from speed_benchmark.record.sample import Sample, Sequence
from tests.judge.judging import Make, again

# 5 tokens in, 101 out, the first after 0.5 s, 0.01 s for each one after it
COST = TokenCost(
    weight_bytes=1000, kv_cache_bytes_per_token=10, flops=4000, attention_flops_per_token=20, prefill_flops=3000
)
PEAKS = DevicePeaks(device="test", bandwidths=((1, 1e6),), flops_per_s=1e6, matrix_dtype="bfloat16", torch="2")
POSITIONS = range(6, 106)
BYTES = sum(1000 + 10 * position for position in POSITIONS)
FLOPS = sum(4000 + 20 * position for position in POSITIONS)
PREFILL_FLOPS = 4 * 3000 + 4000 + 20 * (1 + 2 + 3 + 4 + 5)


def costed(before: Judged, peaks: dict[str, Any] | None = None, **changed: Any) -> Roofline | None:
    """The roofline of a record of such costs, on a device of such peaks."""
    known = {"token_cost": COST, "device_peaks": PEAKS.model_copy(update=peaks or {})}
    return again(before, **known | changed).judgement.roofline


def measured(fake_record: Make, peaks: dict[str, Any] | None = None, **changed: Any) -> Roofline:
    found = costed(fake_record((1.5, 1.5)), peaks, **changed)
    assert found is not None
    return found


def test_utilization_and_limits(fake_record: Make) -> None:
    roofline = measured(fake_record)
    assert roofline.mbu == pytest.approx(BYTES / 1e6 / 1.0)
    assert roofline.decode_limit_tokens_per_s == pytest.approx(100 / (FLOPS / 1e6))
    assert roofline.mfu == pytest.approx(PREFILL_FLOPS / 1e6 / 0.5)
    assert roofline.prefill_limit_tokens_per_s == pytest.approx(5 / (PREFILL_FLOPS / 1e6))
    assert roofline.highest_utilization == pytest.approx(FLOPS / 1e6 / 1.0)


def test_memory_limits_where_compute_is_fast(fake_record: Make) -> None:
    roofline = measured(fake_record, {"flops_per_s": 1e9})
    assert roofline.decode_limit_tokens_per_s == pytest.approx(100 / (BYTES / 1e6))
    assert roofline.prefill_limit_tokens_per_s == pytest.approx(5 / ((1000 + 10 * 5) / 1e6))


def test_a_step_of_a_batch_reads_the_weights_once(fake_record: Make) -> None:
    before = fake_record((1.5, 1.5), workload={"batch_size": 3})
    roofline = costed(before)
    assert roofline is not None
    batch_bytes = sum(1000 + 3 * 10 * position for position in POSITIONS)
    assert roofline.mbu == pytest.approx(batch_bytes / 1e6 / 1.0)
    assert roofline.decode_limit_tokens_per_s == pytest.approx(300 / (3 * FLOPS / 1e6))
    assert roofline.mfu == pytest.approx(3 * PREFILL_FLOPS / 1e6 / 0.5)
    assert roofline.prefill_limit_tokens_per_s == pytest.approx(15 / (3 * PREFILL_FLOPS / 1e6))
    assert roofline.highest_utilization == pytest.approx(3 * FLOPS / 1e6 / 1.0)
    by_memory = costed(before, {"flops_per_s": 1e9})
    assert by_memory is not None
    assert by_memory.decode_limit_tokens_per_s == pytest.approx(300 / (batch_bytes / 1e6))
    assert by_memory.prefill_limit_tokens_per_s == pytest.approx(15 / ((1000 + 3 * 10 * 5) / 1e6))


def test_each_sequence_counts_with_its_own_prompt_and_from_when_all_have_started(fake_record: Make) -> None:
    """The first, of 5 tokens, has two when the second, of 7, has its first after 1 s; then steps of 0.5 s."""
    sequences = tuple(
        Sequence(token_times_s=times_s, prompt_tokens=prompt, output_tokens=len(times_s), output_digest="")
        for times_s, prompt in (((0.4, 0.8, 1.5, 2.0, 2.5), 5), ((1.0, 1.5, 2.0), 7))
    )
    sample = Sample(started_at_unix_s=0.0, duration_s=2.5, sequences=sequences)
    roofline = costed(fake_record((1.5,)), {"flops_per_s": 1e9}, samples=(sample,))
    assert roofline is not None
    # positions of the first after all have started: 7, 8, 9; of the second: 8, 9
    needed_bytes = 3 * 1000 + 10 * (7 + 8 + 9) + 10 * (8 + 9)
    assert roofline.mbu == pytest.approx(needed_bytes / 1e6 / 1.5)
    assert roofline.decode_limit_tokens_per_s == pytest.approx(5 / (needed_bytes / 1e6))
    prompt_flops = (4 + 6) * 3000 + 2 * 4000 + 20 * (5 * 6 / 2 + 7 * 8 / 2)
    assert roofline.mfu == pytest.approx(prompt_flops / 1e9 / 1.0)
    assert roofline.prefill_limit_tokens_per_s == pytest.approx(12 / ((1000 + 10 * 12) / 1e6))


def test_devices_that_share_each_step_add_up(fake_record: Make) -> None:
    roofline = measured(fake_record, token_cost=COST.model_copy(update={"devices_at_once": 4}))
    assert roofline.mbu == pytest.approx(BYTES / 4e6)
    assert roofline.highest_utilization == pytest.approx(FLOPS / 4e6)


@pytest.mark.parametrize(
    ("peaks", "busy", "bound_by"),
    [
        ({"flops_per_s": 1e9}, 0.79, "host_launch"),
        ({"flops_per_s": 1e9}, 0.8, "memory"),
        ({"bandwidths": ((1, 1e9),)}, 0.8, "compute"),
        ({"flops_per_s": 1e9}, None, "host_launch"),
        ({"flops_per_s": 1e9, "bandwidths": ((1, BYTES / 0.51),)}, None, "memory"),
        ({"flops_per_s": 1e9, "bandwidths": ((1, BYTES / 0.49),)}, None, "host_launch"),
        ({"flops_per_s": FLOPS / 0.51, "bandwidths": ((1, 1e9),)}, None, "compute"),
    ],
)
def test_what_a_cell_is_bound_by(fake_record: Make, peaks: dict[str, Any], busy: float | None, bound_by: str) -> None:
    roofline = measured(fake_record, peaks, profile=Profile(device_busy_share=busy))
    assert roofline.bound_by == bound_by
    assert roofline.device_busy_share == busy


def test_a_long_prefill_decides_what_a_cell_is_bound_by(fake_record: Make) -> None:
    """How busy the device is while decoding says nothing about it."""
    peaks = {"flops_per_s": PREFILL_FLOPS / 9.0 / 0.6}
    roofline = costed(fake_record((10.0,)), peaks, profile=Profile(device_busy_share=0.1))
    assert roofline is not None
    assert roofline.bound_by == "compute"


def test_nothing_is_said_without_cost_peaks_or_times(fake_record: Make) -> None:
    before = fake_record((1.5, 1.5))
    assert costed(before, token_cost=None) is None
    assert costed(before, device_peaks=None) is None
    assert costed(before, samples=()) is None
    first, second = before.record.samples
    assert costed(before, samples=(first, second.model_copy(update={"sequences": ()}))) is None


def test_one_token_has_no_decoding(fake_record: Make) -> None:
    roofline = costed(fake_record((1.5, 1.5), workload={"generate_length": 1}))
    assert roofline is not None
    assert (roofline.mbu, roofline.decode_limit_tokens_per_s) == (None, None)


@pytest.mark.parametrize(
    ("working_set", "rate"), [(1, 9.0), (10, 9.0), (99, 9.0), (100, 5.0), (999, 5.0), (1000, 5.0), (5000, 5.0)]
)
def test_caches_serve_what_fits_them(working_set: float, rate: float) -> None:
    peaks = PEAKS.model_copy(update={"bandwidths": ((10, 9.0), (100, 4.0), (1000, 5.0))})
    assert bandwidth(peaks, working_set) == rate
