"""Limits against figures counted by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from speed_benchmark.judge.checks import judge
from speed_benchmark.judge.roofline import bandwidth
from speed_benchmark.record.record import Profile, Rates, Record, Severity, Work

Make = Callable[..., Record]

# 5 tokens in, 101 out, the first after 0.5 s, 0.01 s for each one after it
WORK = Work(
    weight_bytes=1000, kv_cache_bytes_per_token=10, flops=4000, attention_flops_per_token=20, prefill_flops=3000
)
RATES = Rates(device="test", bandwidths=((1, 1e6),), flops_per_s=1e6, matrix_dtype="bfloat16", torch="2")
POSITIONS = range(6, 106)
BYTES = sum(1000 + 10 * position for position in POSITIONS)
FLOPS = sum(4000 + 20 * position for position in POSITIONS)
PREFILL_FLOPS = 4 * 3000 + 4000 + 20 * (1 + 2 + 3 + 4 + 5)


def judged(fake_record: Make, rates: dict[str, Any] | None = None, **changed: Any) -> Record:
    record = fake_record((1.5, 1.5))
    updated = {"work": WORK, "rates": RATES.model_copy(update=rates or {})} | changed
    return judge(record.model_copy(update=updated))


def test_shares_and_limits(fake_record: Make) -> None:
    roofline = judged(fake_record).roofline
    assert roofline is not None
    assert roofline.decode_bandwidth_share == pytest.approx(BYTES / 1e6 / 1.0)
    assert roofline.decode_limit_tokens_per_s == pytest.approx(100 / (FLOPS / 1e6))
    assert roofline.prefill_matrix_share == pytest.approx(PREFILL_FLOPS / 1e6 / 0.5)
    assert roofline.prefill_limit_tokens_per_s == pytest.approx(5 / (PREFILL_FLOPS / 1e6))
    assert roofline.fastest_share == pytest.approx(FLOPS / 1e6 / 1.0)


def test_memory_limits_where_arithmetic_is_fast(fake_record: Make) -> None:
    roofline = judged(fake_record, {"flops_per_s": 1e9}).roofline
    assert roofline is not None
    assert roofline.decode_limit_tokens_per_s == pytest.approx(100 / (BYTES / 1e6))
    assert roofline.prefill_limit_tokens_per_s == pytest.approx(5 / ((1000 + 10 * 5) / 1e6))


def test_devices_that_share_each_step_add_up(fake_record: Make) -> None:
    roofline = judged(fake_record, work=WORK.model_copy(update={"devices_at_once": 4})).roofline
    assert roofline is not None
    assert roofline.decode_bandwidth_share == pytest.approx(BYTES / 4e6)
    assert roofline.fastest_share == pytest.approx(FLOPS / 4e6)


@pytest.mark.parametrize(
    ("rates", "busy", "binds"),
    [
        ({"flops_per_s": 1e9}, 0.79, "host"),
        ({"flops_per_s": 1e9}, 0.8, "memory"),
        ({"bandwidths": ((1, 1e9),)}, 0.8, "arithmetic"),
        ({"flops_per_s": 1e9}, None, "host"),
        ({"flops_per_s": 1e9, "bandwidths": ((1, BYTES / 0.51),)}, None, "memory"),
        ({"flops_per_s": 1e9, "bandwidths": ((1, BYTES / 0.49),)}, None, "host"),
        ({"flops_per_s": FLOPS / 0.51, "bandwidths": ((1, 1e9),)}, None, "arithmetic"),
    ],
)
def test_what_binds(fake_record: Make, rates: dict[str, Any], busy: float | None, binds: str) -> None:
    roofline = judged(fake_record, rates, profile=Profile(device_busy_share=busy)).roofline
    assert roofline is not None
    assert roofline.binds == binds
    assert roofline.device_busy_share == busy


def test_a_long_prefill_is_what_binds(fake_record: Make) -> None:
    """How busy the device is while decoding says nothing about it."""
    record = fake_record((10.0,))
    update = {"work": WORK, "rates": RATES.model_copy(update={"flops_per_s": PREFILL_FLOPS / 9.0 / 0.6})}
    roofline = judge(record.model_copy(update=update | {"profile": Profile(device_busy_share=0.1)})).roofline
    assert roofline is not None
    assert roofline.binds == "arithmetic"


def test_nothing_is_said_without_rates_or_work(fake_record: Make) -> None:
    assert judged(fake_record, work=None).roofline is None
    assert judge(judged(fake_record).model_copy(update={"rates": None})).roofline is None
    assert judged(fake_record, samples=()).roofline is None


@pytest.mark.parametrize(
    ("gpus", "other_cores", "severity"),
    [((), 0.0, Severity.INVALID), ((), 1.0, Severity.DOUBTFUL), ((0,), 1.0, Severity.INVALID)],
)
def test_faster_than_the_device_can_be(
    fake_record: Make, gpus: tuple[int, ...], other_cores: float, severity: Severity
) -> None:
    at_limit = {"flops_per_s": 1e9, "bandwidths": ((1, BYTES / 0.999),), "other_cores": other_cores}
    above = at_limit | {"bandwidths": ((1, BYTES / 1.001),)}
    assert "above_roofline" not in {one.code for one in judged(fake_record, at_limit, gpus=gpus).findings}
    (found,) = [one for one in judged(fake_record, above, gpus=gpus).findings if one.code == "above_roofline"]
    assert found.severity is severity
    assert "100.1 %" in found.text


@pytest.mark.parametrize(
    ("working_set", "rate"), [(1, 9.0), (10, 9.0), (99, 9.0), (100, 5.0), (999, 5.0), (1000, 5.0), (5000, 5.0)]
)
def test_caches_serve_what_fits_them(working_set: float, rate: float) -> None:
    rates = RATES.model_copy(update={"bandwidths": ((10, 9.0), (100, 4.0), (1000, 5.0))})
    assert bandwidth(rates, working_set) == rate
