"""The figures of a record, to the exact number, and what they rest on."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.judge.judgement import Interval, Quantity
from speed_benchmark.judge.quick import predict
from speed_benchmark.judge.statistics import (
    SEQUENTIAL_CONFIDENCE,
    autocorrelation_p,
    between_group_variance,
    decode_tokens_per_s,
    decoded_tokens,
    decodes,
    dependence,
    dependent,
    generation_tokens_per_s,
    half_width,
    outlier_p,
    peak_memory,
    precise,
    prefill_tokens_per_s,
    repeats_needed,
    sequence_decode_tokens_per_s,
    sequence_generation_tokens_per_s,
    student_half_width,
    summarize,
    time_to_first_token_s,
    time_to_last_first_token_s,
    total_tokens_per_s,
    trend_p,
    two_groups,
    without_intervals,
)
from speed_benchmark.record.sample import Memory, Sample, Sequence
from tests.judge.judging import Make, summary_of

STUDENT_5_975 = 2.570582  # quantiles of Student's t: degrees of freedom, probability
STUDENT_2_975 = 4.302653
STUDENT_5_984 = 2.946899


def sequence(*times_s: float, prompt: int = 7) -> Sequence:
    return Sequence(token_times_s=times_s, prompt_tokens=prompt, output_tokens=len(times_s), output_digest="")


def request(duration_s: float, *sequences: Sequence, process: int = 0) -> Sample:
    return Sample(started_at_unix_s=0.0, duration_s=duration_s, sequences=sequences, process=process)


def sample(duration_s: float = 2.0, times_s: tuple[float, ...] = (0.5, 1.0, 2.0), process: int = 0) -> Sample:
    return request(duration_s, sequence(*times_s), process=process)


def cell(context_length: int = 7, **protocol: Any) -> Cell:
    return Cell(
        model=Model(model_id_or_path="m"),
        workload=Workload(context_length=context_length, generate_length=3),
        settings=EngineSettings(engine="fake"),
        protocol=Protocol(**protocol),
    )


def durations(*values: float) -> list[Sample]:
    return [sample(value, (value / 4, value / 2, value)) for value in values]


def speed_interval(samples: list[Sample], **protocol: Any) -> Interval | None:
    summary = summarize(samples, cell(**protocol))
    assert summary is not None
    return summary.generation_tokens_per_s.interval


def test_speeds_of_one_request() -> None:
    one = sample()
    assert generation_tokens_per_s(one) == 3 / 2.0
    assert total_tokens_per_s(one) == 10 / 2.0
    assert decode_tokens_per_s(one) == 2 / 1.5
    assert prefill_tokens_per_s(one) == 7 / 0.5
    assert sequence_generation_tokens_per_s(one) == 3 / 2.0
    assert sequence_decode_tokens_per_s(one) == 2 / 1.5
    assert (time_to_first_token_s(one), time_to_last_first_token_s(one)) == (0.5, 0.5)


# Three sequences of 7, 7 and 9 tokens: all have started after 1 s, and the last token comes after 4 s.
BATCH = request(5.0, sequence(0.5, 0.75, 1.5, 2.5), sequence(1.0, 2.0, 3.0, 4.0), sequence(0.5, 1.0, 2.0, prompt=9))


def test_speeds_of_a_batch() -> None:
    assert generation_tokens_per_s(BATCH) == 11 / 5.0
    assert total_tokens_per_s(BATCH) == (23 + 11) / 5.0
    assert prefill_tokens_per_s(BATCH) == 23 / 1.0
    assert (time_to_first_token_s(BATCH), time_to_last_first_token_s(BATCH)) == (0.5, 1.0)
    # of the first the tokens at 1.5 and 2.5 s, all but the first of the second, of the third the one at 2 s
    assert decoded_tokens(BATCH) == [2, 3, 1]
    assert decode_tokens_per_s(BATCH) == 6 / 3.0
    assert sequence_generation_tokens_per_s(BATCH) == pytest.approx((4 / 5 + 4 / 5 + 3 / 5) / 3)
    assert sequence_decode_tokens_per_s(BATCH) == pytest.approx((3 / 2 + 3 / 3 + 2 / 1.5) / 3)


def test_summary_of_a_batch() -> None:
    twice = request(10.0, *(sequence(*(2 * at_s for at_s in one.token_times_s)) for one in BATCH.sequences))
    summary = summarize([BATCH, twice], cell())
    assert summary is not None
    assert summary.generation_tokens_per_s.mean == pytest.approx((11 / 5 + 11 / 10) / 2)
    assert summary.time_to_first_token_s.mean == 0.75
    assert summary.time_to_last_first_token_s.mean == 1.5
    assert (summary.time_to_last_first_token_s.minimum, summary.time_to_last_first_token_s.maximum) == (1.0, 2.0)
    assert summary.decode_tokens_per_s is not None
    assert summary.decode_tokens_per_s.mean == pytest.approx((2 + 1) / 2)
    assert summary.sequence_decode_tokens_per_s is not None
    assert summary.sequence_decode_tokens_per_s.maximum == pytest.approx((3 / 2 + 3 / 3 + 2 / 1.5) / 3)
    # gaps of each sequence: 0.25 0.75 1, 1 1 1, 0.5 1; and twice these
    median = summary.inter_token_latency_p50_s
    assert median is not None
    assert (median.minimum, median.mean, median.maximum) == (1.0, 1.5, 2.0)


def test_gaps_are_never_between_sequences() -> None:
    """Two sequences in lockstep: each has 40 gaps of 1 s, whatever lies between them."""
    times_s = [float(step) for step in range(1, 42)]
    same = Quantity(mean=1.0, minimum=1.0, maximum=1.0)
    pair = request(41.5, sequence(*times_s), sequence(*(at_s + 0.25 for at_s in times_s)))
    summary = summarize([pair], cell())
    assert summary is not None
    assert (summary.inter_token_latency_p50_s, summary.inter_token_latency_p90_s) == (same, same)


def test_a_batch_that_never_decodes_together() -> None:
    """The first ends before the second starts."""
    apart = request(4.0, sequence(0.5, 1.0), sequence(4.0))
    assert not decodes(apart)
    summary = summarize([apart], cell())
    assert summary is not None
    assert (summary.decode_tokens_per_s, summary.sequence_decode_tokens_per_s) == (None, None)
    after = summarize([request(5.0, sequence(0.5, 1.0), sequence(4.0, 5.0))], cell())
    assert after is not None
    assert after.decode_tokens_per_s is not None
    assert after.decode_tokens_per_s.mean == 1.0
    assert after.sequence_decode_tokens_per_s is not None
    assert after.sequence_decode_tokens_per_s.mean == (2.0 + 1.0) / 2


def test_a_batch_of_one_is_one_sequence(fake_record: Make) -> None:
    """All figures of one sequence are those of the batch."""
    one = summary_of(fake_record([2.0, 2.1, 2.0]))
    assert one.sequence_generation_tokens_per_s == one.generation_tokens_per_s
    assert one.sequence_decode_tokens_per_s == one.decode_tokens_per_s
    assert one.time_to_last_first_token_s == one.time_to_first_token_s


@pytest.mark.parametrize("batch_size", [2, 5])
def test_a_batch_in_lockstep_is_so_many_times_one_sequence(fake_record: Make, batch_size: int) -> None:
    workload = {"context_length": 64}
    one = summary_of(fake_record([2.0, 2.1, 2.0], workload=workload))
    many = summary_of(fake_record([2.0, 2.1, 2.0], workload=workload | {"batch_size": batch_size}))
    assert many.sequence_generation_tokens_per_s.mean == pytest.approx(one.generation_tokens_per_s.mean)
    for name in ("generation", "total", "decode", "prefill"):
        times = getattr(many, f"{name}_tokens_per_s").mean / getattr(one, f"{name}_tokens_per_s").mean
        assert times == pytest.approx(batch_size)
    assert many.duration_s == one.duration_s


def test_summary_of_two() -> None:
    summary = summarize([sample(2.0), sample(4.0, (1.0, 2.0, 4.0))], cell(context_length=64))
    assert summary is not None
    speed = summary.generation_tokens_per_s
    assert (speed.mean, speed.minimum, speed.maximum) == (1.125, 0.75, 1.5)
    assert speed.stdev == pytest.approx(math.sqrt(2 * 0.375**2))
    assert speed.interval is None
    assert summary.total_tokens_per_s.mean == (5 + 2.5) / 2
    assert summary.prefill_tokens_per_s is not None
    assert summary.prefill_tokens_per_s.mean == (14 + 7) / 2
    assert summary.time_to_first_token_s.mean == 0.75
    assert summary.duration_s.mean == 3.0
    assert summary.decode_tokens_per_s is not None
    assert summary.decode_tokens_per_s.mean == pytest.approx((2 / 1.5 + 2 / 3) / 2)
    # the gaps are 0.5 and 1, 1 and 2
    assert summary.inter_token_latency_p50_s is not None
    assert summary.inter_token_latency_p50_s.mean == (0.75 + 1.5) / 2
    assert summary.inter_token_latency_p90_s is None
    assert summary.predicted is False


def test_summary_of_one() -> None:
    summary = summarize([sample()], cell())
    assert summary is not None
    assert summary.generation_tokens_per_s.stdev is None
    assert summary.generation_tokens_per_s.mean == 1.5


@pytest.mark.parametrize(
    "bad",
    [
        request(2.0),
        request(2.0, sequence(0.5), sequence()),
        sample(0.0),
        sample(times_s=()),
        sample(times_s=(0.0, 1.0)),
        sample(-1.0),
        sample(times_s=(-0.5, 1.0)),
    ],
)
def test_no_summary_without_times(bad: Sample) -> None:
    assert summarize([], cell()) is None
    assert summarize([sample(), bad], cell()) is None


def test_no_decode_rate_without_a_second_token_or_a_time() -> None:
    for times_s in ((0.5,), (0.5, 0.5)):
        summary = summarize([sample(), sample(times_s=times_s)], cell())
        assert summary is not None
        assert summary.decode_tokens_per_s is None


@pytest.mark.parametrize(
    ("gaps", "p90", "p99"), [(63, False, False), (64, True, False), (661, True, False), (662, True, True)]
)
def test_percentiles_need_enough_gaps(gaps: int, p90: bool, p99: bool) -> None:
    times_s = tuple(np.cumsum(np.arange(1, gaps + 2)).tolist())
    summary = summarize([sample(times_s[-1], times_s)], cell())
    assert summary is not None
    # the gaps are 2, 3, …
    found = {50: summary.inter_token_latency_p50_s, 90: summary.inter_token_latency_p90_s}
    found |= {99: summary.inter_token_latency_p99_s}
    for percent, there in ((50, True), (90, p90), (99, p99)):
        quantity = found[percent]
        assert (quantity is not None) is there
        assert quantity is None or quantity.mean == pytest.approx(2 + (gaps - 1) * percent / 100)


def test_each_repeat_needs_enough_gaps_of_its_own() -> None:
    """What 64 gaps of one repeat say of its slowest tenth, 2 of another don't say of that one's."""
    times_s = tuple(float(step) for step in range(1, 66))
    long, short = sample(times_s[-1], times_s), sample(3.0, (1.0, 2.0, 3.0))
    alone, both = summarize([long], cell()), summarize([long, long, short], cell())
    assert alone is not None
    assert both is not None
    assert alone.inter_token_latency_p90_s is not None
    assert both.inter_token_latency_p90_s is None


def test_percentiles_are_a_range_over_repeats() -> None:
    """Three repeats of one pace each: no mixture of all their gaps shows that."""
    paces_s = (0.031, 0.033, 0.019)
    samples = [sample(65 * pace_s, tuple(np.cumsum([pace_s] * 65).tolist())) for pace_s in paces_s]
    summary = summarize(samples, cell())
    assert summary is not None
    p90 = summary.inter_token_latency_p90_s
    assert p90 is not None
    assert (p90.minimum, p90.mean, p90.maximum) == pytest.approx((0.019, 0.083 / 3, 0.033))
    assert p90.interval is not None


@pytest.mark.parametrize("context_length", [63, 64])
def test_prefill_speed_of_a_short_prompt_says_nothing(context_length: int) -> None:
    summary = summarize([sample()], cell(context_length))
    assert summary is not None
    assert (summary.prefill_tokens_per_s is None) == (context_length == 63)


def test_peak_memory() -> None:
    readings = [
        Memory(allocator_peak_allocated_bytes=3, host_peak_rss_bytes=9),
        Memory(allocator_peak_allocated_bytes=5, host_peak_rss_bytes=2, device_used_bytes=1),
    ]
    assert peak_memory(readings) == Memory(allocator_peak_allocated_bytes=5, host_peak_rss_bytes=9, device_used_bytes=1)
    assert peak_memory([]) == Memory()
    summary = summarize([sample().model_copy(update={"memory": reading}) for reading in readings], cell())
    assert summary is not None
    assert summary.memory.allocator_peak_allocated_bytes == 5


ALTERNATING = (2.0, 2.5, 2.0, 2.5, 2.0, 2.5)


def test_interval_of_repeats() -> None:
    interval = speed_interval(durations(*ALTERNATING))
    # speeds 1.5 and 1.2: mean 1.35, stdev 0.15 × sqrt(6 / 5)
    half = STUDENT_5_975 * 0.15 * math.sqrt(6 / 5) / math.sqrt(6)
    assert interval is not None
    assert [interval.low, interval.high] == pytest.approx([1.35 - half, 1.35 + half])
    assert (interval.method, interval.over, interval.independence) == ("student_t", "repeats", "tested")


def test_interval_when_stopping_early_is_wider() -> None:
    interval = speed_interval(durations(*ALTERNATING), precision=0.5)
    half = STUDENT_5_984 * 0.15 * math.sqrt(6 / 5) / math.sqrt(6)
    assert interval is not None
    assert interval.high == pytest.approx(1.35 + half)
    assert interval.method == "student_t_sequential"
    assert SEQUENTIAL_CONFIDENCE == 0.968


def test_interval_of_processes() -> None:
    samples = [sample(value, (value / 4, value), process) for process, value in enumerate((1.0, 2.0, 4.0))]
    samples += [sample(value, (value / 4, value), process) for process, value in enumerate((2.0, 2.0, 1.0))]
    # means of the speeds 2 and 1, 1 and 1, 0.5 and 2
    means = np.array([1.5, 1.0, 1.25])
    summary = summarize(samples, cell(processes=3, precision=0.1))
    assert summary is not None
    speed = summary.generation_tokens_per_s
    assert speed.mean == 1.25
    assert speed.interval is not None
    assert speed.interval.high == pytest.approx(1.25 + STUDENT_2_975 * means.std(ddof=1) / math.sqrt(3))
    assert speed.interval.low == pytest.approx(1.25 - STUDENT_2_975 * means.std(ddof=1) / math.sqrt(3))
    # stopping early in a process narrows nothing between them
    assert (speed.interval.method, speed.interval.over) == ("student_t", "processes")
    assert (speed.minimum, speed.maximum) == (0.5, 2.0)
    assert speed.stdev == pytest.approx(np.std([2, 1, 1, 1, 0.5, 2], ddof=1))


@pytest.mark.parametrize("count", [1, 2])
def test_no_interval_of_few_repeats(count: int) -> None:
    assert speed_interval(durations(*ALTERNATING[:count])) is None


@pytest.mark.parametrize("count", [3, 4, 5])
def test_an_interval_that_takes_independence_for_granted(count: int) -> None:
    """Too few to see it otherwise: these rise all the way."""
    interval = speed_interval(durations(2.0, 2.1, 2.2, 2.3, 2.4)[:count])
    assert interval is not None
    assert interval.independence == "assumed"


def test_interval_of_three_repeats() -> None:
    interval = speed_interval(durations(2.0, 2.5, 2.0))
    # speeds 1.5, 1.2 and 1.5: mean 1.4, stdev 0.1 × sqrt(3)
    assert interval is not None
    assert [interval.low, interval.high] == pytest.approx([1.4 - STUDENT_2_975 * 0.1, 1.4 + STUDENT_2_975 * 0.1])


def test_no_interval_of_two_processes() -> None:
    samples = [sample(2.0 + index % 3, process=index % 2) for index in range(12)]
    assert speed_interval(samples, processes=2) is None


def test_no_interval_of_what_depends() -> None:
    assert speed_interval(durations(2.0, 2.1, 2.2, 2.3, 2.4, 2.5)) is None
    trend = [sample(2.0 + index / 10, (0.5, 1.0), index) for index in range(6)]
    assert speed_interval(trend, processes=6) is None
    assert speed_interval(trend[:5], processes=5) is not None  # processes are independent unless six say otherwise


def test_an_interval_of_equal_repeats_is_a_point() -> None:
    interval = speed_interval(durations(*[2.0] * 6))
    assert interval is not None
    assert (interval.low, interval.high) == (1.5, 1.5)


def test_the_simulated_code_is_the_code_of_a_record() -> None:
    """What tests/judge/test_coverage.py simulates on arrays is what `summarize` does to samples."""
    random = np.random.default_rng(1)
    for _ in range(200):
        speeds = random.normal(50, 1, int(random.integers(6, 31)))
        interval = speed_interval(durations(*(3 / speeds)))
        assert (interval is None) == bool(dependent(speeds))
        if interval:
            half = student_half_width(speeds, 0.95)
            assert interval.low == pytest.approx(speeds.mean() - half)
            assert interval.high == pytest.approx(speeds.mean() + half)


def test_precise() -> None:
    # ± 12.8 % with the wider quantile
    width = STUDENT_5_984 * 0.15 * math.sqrt(6 / 5) / math.sqrt(6) / 1.35
    samples = durations(*ALTERNATING)
    assert precise(samples, cell(precision=width * 1.001))
    assert not precise(samples, cell(precision=width * 0.999))
    assert not precise(samples[:2], cell(precision=0.9))
    assert precise(samples[:3], cell(precision=0.9))
    assert not precise(samples, cell())
    assert not precise([], cell(precision=0.9))
    summary = summarize(samples, cell(precision=0.5))
    assert summary is not None
    assert half_width(summary.generation_tokens_per_s) == pytest.approx(width)


def test_exactly_as_precise_as_asked() -> None:
    assert precise(durations(*[2.0] * 6), cell(precision=1e-12))


def test_how_many_repeats_are_needed() -> None:
    """With a spread of 13 % for ±1 % some 650 and for ±5 % some 30; never fewer than can show a dependence."""
    values = [100 * (1 + 0.13 * sign) for sign in (1, -1, 0)]
    assert np.std(values, ddof=1) == pytest.approx(13)
    needed = repeats_needed(values, 0.01)
    assert student_half_width_of(13, needed) <= 1 < student_half_width_of(13, needed - 1)
    assert 650 < needed < 800
    assert 30 < repeats_needed(values, 0.05) < 40
    assert repeats_needed([100, 100.1, 99.9], 0.05) == 6
    assert repeats_needed([1, 100, 1], 1e-6) == 10_000


def student_half_width_of(stdev: float, count: int) -> float:
    return float(stdtrit(count - 1, (1 + SEQUENTIAL_CONFIDENCE) / 2)) * stdev / math.sqrt(count)


def test_trend_p() -> None:
    # slope 1, squared distances from the mean 12.8, of which the slope explains 10
    values = [1.0, 1.0, 4.0, 3.0, 5.0]
    slope, rest = 1.0, 12.8 - 10
    score = slope / math.sqrt(rest / 3 / 10)
    assert float(trend_p(values)) == pytest.approx(2 * (1 - student_cdf_3(score)))
    assert float(trend_p(values[::-1])) == pytest.approx(float(trend_p(values)))


def student_cdf_3(t: float) -> float:
    """Student's t with 3 degrees of freedom, in closed form."""
    x = t / math.sqrt(3)
    return 0.5 + (x / (1 + x**2) + math.atan(x)) / math.pi


def test_trend_p_of_extremes() -> None:
    assert float(trend_p([1, 2, 3, 4, 5, 6])) == 0.0
    assert float(trend_p([2, 2, 2, 2])) == 1.0
    assert float(trend_p([1, 2, 2, 1])) == 1.0


def test_autocorrelation_p() -> None:
    # 1 … 6: squared steps 5, squared distances from the mean 17.5; expected 2, variance 4 × 4 / 35
    score = (2 - 5 / 17.5) / math.sqrt(16 / 35)
    assert float(autocorrelation_p(range(1, 7))) == pytest.approx(0.5 * math.erfc(score / math.sqrt(2)))
    assert float(autocorrelation_p([1, 2, 1, 2, 1, 2])) > 0.97
    assert float(autocorrelation_p([2, 2, 2, 2])) == 1.0


def test_outlier_p() -> None:
    # others 1 … 4: mean 2.5, stdev sqrt(5 / 3); a fifth of 5 is 2.5 / (stdev × sqrt(5 / 4)) away
    score = 2.5 / math.sqrt(5 / 3) / math.sqrt(5 / 4)
    assert float(outlier_p(5.0, [1, 2, 3, 4])) == pytest.approx(2 * (1 - student_cdf_3(score)))
    assert float(outlier_p(0.0, [1, 2, 3, 4])) == pytest.approx(2 * (1 - student_cdf_3(score)))
    assert float(outlier_p(2.5, [1, 2, 3, 4])) == 1.0
    assert float(outlier_p(1.1, [1.0, 1.0])) == 0.0


def test_dependence() -> None:
    assert dependence([1, 2, 3, 4, 5, 6]) == "trend"
    assert dependence([1, 2, 3, 3, 2, 1, 1, 2, 3, 3, 2, 1]) == "autocorrelation"
    assert dependence([1, 3, 2, 1, 3, 2]) is None
    assert dependence([1.0] * 6) is None


def test_rounding_is_no_dependence() -> None:
    rising = np.arange(6)
    assert not dependent(1 + 0.9e-6 / 5 * rising)
    assert dependent(1 + 1.1e-6 / 5 * rising)
    assert dependent(-1 - 1.1e-6 / 5 * rising)


def test_dependent_works_along_the_last_axis() -> None:
    rows = np.array([[1, 2, 3, 4, 5, 6], [1, 3, 2, 1, 3, 2.0]])
    assert dependent(rows).tolist() == [True, False]
    assert dependent(rows[None]).tolist() == [[True, False]]
    for function in (trend_p, autocorrelation_p, between_group_variance):
        assert function(rows).tolist() == pytest.approx([float(function(row)) for row in rows])


def test_between_group_variance() -> None:
    # 1 1 5 5 5: between 4 × 4 × 6 / 5 of 19.2 in all; a lone value makes no group
    assert float(between_group_variance([5, 1, 5, 1, 5])) == pytest.approx(1.0)
    assert float(between_group_variance([1, 5, 5, 5, 5])) == pytest.approx(
        (2 * (3 - 4.2) ** 2 + 3 * (5 - 4.2) ** 2) / (3.2**2 + 4 * 0.8**2)
    )
    assert float(between_group_variance([2.0] * 5)) == 0.0
    assert two_groups([5, 1, 6, 1, 5]) == ([1, 1], [5, 5, 6])
    assert two_groups([1, 1, 1, 6, 5]) == ([1, 1, 1], [5, 6])
    assert two_groups([5, 5, 5, 5, 1]) == ([1, 5], [5, 5, 5])


@given(st.lists(st.integers(1, 1000), min_size=4, max_size=12).filter(lambda values: len(set(values)) > 1))
def test_two_groups_explain_what_between_group_variance_says(values: list[int]) -> None:
    low, high = two_groups(list(map(float, values)))
    mean = np.mean(values)
    between = len(low) * (np.mean(low) - mean) ** 2 + len(high) * (np.mean(high) - mean) ** 2
    assert float(between_group_variance(values)) == pytest.approx(between / (np.var(values) * len(values)))


WINDOW_CELL = Cell(
    model=Model(model_id_or_path="m"),
    workload=Workload(context_length=7, generate_length=60),
    settings=EngineSettings(engine="fake"),
    protocol=Protocol(quick=True),
)


def window(*gaps_s: list[float], starts_s: tuple[float, ...] = (1.0,)) -> Sample:
    """A window of sequences with these gaps, whose first tokens come at `starts_s`; it ends 0.25 s after the last."""
    sequences = [
        sequence(*np.cumsum([start_s, *gaps]).tolist()) for start_s, gaps in zip(starts_s, gaps_s, strict=True)
    ]
    ended_s = max(one.token_times_s[-1] for one in sequences)
    return request(ended_s + 0.25, *sequences)


def predicted(start: Sample, end: Sample, generate: int) -> Sample:
    """The prediction from windows of a request for `generate` tokens."""
    workload = replace(WINDOW_CELL.workload, generate_length=generate)
    found = predict(start, end, replace(WINDOW_CELL, workload=workload))
    assert found is not None
    return found


def gaps_of(whole: Sample, index: int = 0) -> list[float]:
    gaps_s: list[float] = np.diff(whole.sequences[index].token_times_s).tolist()
    return gaps_s


def test_prediction_of_equal_gaps() -> None:
    # 24 gaps settle, at the start as in the whole request, at the end in the window alone
    whole = predicted(window([5.0] * 24 + [2.0] * 4), window([9.0] * 24 + [2.0] * 5), 50)
    assert gaps_of(whole) == pytest.approx([5.0] * 24 + [2.0] * 25)
    assert whole.sequences[0].token_times_s[0] == 1.0
    assert whole.duration_s == pytest.approx(1 + 24 * 5 + 25 * 2 + 0.25)
    assert (whole.output_tokens, whole.prompt_tokens) == (50, 7)


def test_the_last_gap_of_a_request_counts_once_and_at_its_end() -> None:
    """The start's is none of the whole request's, in which others follow."""
    whole = predicted(window([2.0] * 30 + [9.0]), window([3.0] * 30 + [0.5]), 100)
    assert gaps_of(whole)[:30] == pytest.approx([2.0] * 30)
    assert gaps_of(whole)[-1] == pytest.approx(0.5)
    assert 2.0 < max(gaps_of(whole)) < 3.1


RISING = [float(step) for step in range(1, 29)]
ENDING = [99.0] * 24 + [55.0, 56.0, 57.0, 58.0, 59.0]


def test_prediction_along_a_line() -> None:
    # gap i takes i seconds: 1 … 28 at the start, 55 … 59 at the end; those between are 29 … 54
    whole = predicted(window(RISING), window(ENDING), 60)
    assert gaps_of(whole) == pytest.approx(range(1, 60))


def test_each_sequence_is_predicted_by_itself() -> None:
    # of the second, all takes a tenth more
    start = window(RISING, [1.1 * gap for gap in RISING], starts_s=(1.0, 1.0))
    end = window(ENDING, [*ENDING[:24], *(1.1 * gap for gap in ENDING[24:])], starts_s=(1.0, 1.0))
    whole = predicted(start, end, 60)
    assert gaps_of(whole) == pytest.approx(range(1, 60))
    assert gaps_of(whole, 1) == pytest.approx([1.1 * gap for gap in range(1, 60)])
    assert whole.output_tokens == 120
    assert whole.duration_s == pytest.approx(1 + 1.1 * sum(range(1, 60)) + 0.25)


def test_only_gaps_while_all_sequences_run_tell_how_it_goes_on() -> None:
    """The second starts when the first has 21 tokens; until then, and after the first has ended, it is slower."""
    first, second = [9.0] * 20 + [2.0] * 30, [2.0] * 30 + [9.0] * 20
    start = window(first, second, starts_s=(1.0, 181.0))
    end = window([2.0] * 50, [2.0] * 50, starts_s=(1.0, 1.0))
    whole = predicted(start, end, 200)
    assert gaps_of(whole) == pytest.approx([*first, *[2.0] * 149])
    assert gaps_of(whole, 1) == pytest.approx([*second[:-1], *[2.0] * 150])


@pytest.mark.parametrize(
    "start",
    [
        window([2.0] * 16),  # all of it is settling
        window([2.0] * 20, [2.0] * 20, starts_s=(1.0, 42.0)),  # never both
        window([2.0] * 20, [2.0] * 20, starts_s=(1.0, 30.0)),  # both, but the second settles
    ],
)
def test_no_prediction_without_a_time_of_even_decoding(start: Sample) -> None:
    end = window(*[[2.0] * 20] * len(start.sequences), starts_s=(1.0,) * len(start.sequences))
    assert predict(start, end, WINDOW_CELL) is None
    assert predict(end, start, WINDOW_CELL) is None
    pair = [start.model_copy(update={"window": "start"}), end.model_copy(update={"window": "end"})]
    assert summarize(pair, WINDOW_CELL) is None


@pytest.mark.parametrize("batch", [{}, {"batch_size": 3}])
def test_quick_predicts_a_line_exactly(fake_record: Make, batch: dict[str, Any]) -> None:
    script = {"prefill_s": 0.5, "token_s": 0.01, "token_growth_s": 0.001, "stagger_s": 0.002}
    quick = summary_of(fake_record(protocol={"repeats": 6, "quick": True}, workload=batch, **script))
    full = summary_of(fake_record(protocol={"repeats": 6}, workload=batch, **script))
    assert quick.predicted
    assert quick.duration_s.mean == pytest.approx(full.duration_s.mean, rel=1e-9)
    assert quick.generation_tokens_per_s.mean == pytest.approx(full.generation_tokens_per_s.mean, rel=1e-9)
    assert quick.generation_tokens_per_s.interval is not None
    assert quick.total_tokens_per_s.mean == pytest.approx(full.total_tokens_per_s.mean, rel=1e-9)
    assert quick.time_to_last_first_token_s.mean == pytest.approx(full.time_to_last_first_token_s.mean, rel=1e-9)


def test_without_intervals(fake_record: Make) -> None:
    known = summary_of(fake_record([2.0, 2.1, 2.0, 2.1, 2.0, 2.1]))
    unknown = without_intervals(known)
    for name, quantity in known:
        if isinstance(quantity, Quantity):
            assert quantity.interval is not None
            assert getattr(unknown, name) == quantity.model_copy(update={"interval": None})
        else:
            assert getattr(unknown, name) == quantity


def test_quick_without_a_pair_has_no_summary() -> None:
    start = sample().model_copy(update={"window": "start"})
    assert summarize([start], cell(quick=True)) is None
