"""The rules about figures that can't be, or are extrapolated: each speaks of one record, and passes a near miss."""

import pytest

from speed_benchmark.judge.judgement import Judged, Verdict
from speed_benchmark.judge.statistics import without_intervals
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.record import Profile
from tests.judge.judging import Make, again, codes, said, summary_of

COST = TokenCost(weight_bytes=1000, kv_cache_bytes_per_token=10, flops=1, attention_flops_per_token=1, prefill_flops=1)
PEAKS = DevicePeaks(device="test", bandwidths=((1, 1e9),), flops_per_s=1e9, matrix_dtype="bfloat16", torch="2")


def test_predicted(fake_record: Make) -> None:
    found = fake_record(protocol={"repeats": 6, "quick": True})
    assert said(found, "predicted") == [("note", {"model_error": 0.005})]
    assert found.judgement.verdict is Verdict.VALID


def test_a_host_changes_its_pace(fake_record: Make) -> None:
    requests = {number: (0.1, 0.01 + 0.0001 * (number // 2 % 2)) for number in range(14)}  # start, end, start, ...
    quick = fake_record(protocol={"repeats": 6, "quick": True}, requests=requests)

    def with_device_busy(share: float) -> Judged:
        return again(quick, token_cost=COST, device_peaks=PEAKS, profile=Profile(device_busy_share=share))

    free, bound = with_device_busy(0.9), with_device_busy(0.7)
    assert summary_of(free).generation_tokens_per_s.interval is not None
    assert free.judgement.verdict is Verdict.VALID
    assert said(bound, "predicted") == [("doubtful", {"variant": "host_launch"})]
    assert bound.judgement.summary == without_intervals(summary_of(free))
    assert bound.judgement.verdict is Verdict.DOUBTFUL


def test_a_whole_measurement_is_no_guess_however_it_is_bound(fake_record: Make) -> None:
    whole = fake_record([2.0, 2.01] * 3)
    found = again(whole, token_cost=COST, device_peaks=PEAKS, profile=Profile(device_busy_share=0.1))
    assert found.judgement.roofline is not None
    assert found.judgement.roofline.bound_by == "host_launch"
    assert summary_of(found).generation_tokens_per_s.interval is not None
    assert codes(found) == []


def test_a_batch_whose_windows_never_decode_together(fake_record: Make) -> None:
    """A window of 48 tokens takes 0.47 s of decoding, half of which settles: the second sequence starts too late."""
    asked = {"protocol": {"repeats": 6, "quick": True}, "workload": {"batch_size": 2}}
    assert not said(fake_record(**asked, stagger_s=0.2), "not_predicted")
    late = fake_record(**asked, stagger_s=0.5)
    assert said(late, "not_predicted") == [("invalid", {})]
    assert late.judgement.summary is None
    assert late.judgement.verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("gpus", "other_cores", "share", "severity", "variant"),
    [
        ((), 0.0, 1.001, "doubtful", "near"),
        ((), 0.0, 1.049, "doubtful", "near"),
        ((), 0.0, 1.051, "invalid", None),
        ((), 0.25, 1.051, "invalid", None),
        ((), 0.26, 1.001, "doubtful", "disturbed"),
        ((), 0.26, 1.051, "doubtful", "disturbed"),
        ((0,), 1.0, 1.049, "doubtful", "near"),
        ((0,), 1.0, 1.051, "invalid", None),
    ],
)
def test_faster_than_the_device_can_be(
    fake_record: Make, gpus: tuple[int, ...], other_cores: float, share: float, severity: str, variant: str | None
) -> None:
    steady = fake_record([1.5] * 6)
    needed_bytes = sum(1000 + 10 * position for position in range(6, 106))

    def at(utilization: float) -> Judged:
        update = {"bandwidths": ((1, needed_bytes / utilization),), "other_cores": other_cores}
        return again(steady, token_cost=COST, device_peaks=PEAKS.model_copy(update=update), gpus=gpus)

    assert codes(at(0.999)) == []
    values = {"share": pytest.approx(share)} | ({"variant": variant} if variant else {})
    assert said(at(share), "above_roofline") == [(severity, values)]
