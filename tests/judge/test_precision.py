"""The rules about how well the speed is known: each speaks of one record, and passes a near miss."""

import numpy as np
import pytest

from speed_benchmark.judge.judgement import Judged, Verdict
from speed_benchmark.judge.statistics import repeats_needed
from speed_benchmark.record.sample import Energy, Readings
from tests.judge.judging import Make, codes, said, summary_of, with_samples


def test_few_repeats(fake_record: Make) -> None:
    found = fake_record([2.0, 2.0])
    assert said(found, "few_repeats") == [("doubtful", {"variant": "repeats", "count": 2, "needed": 3})]
    assert summary_of(found).generation_tokens_per_s.interval is None
    assert found.judgement.verdict is Verdict.DOUBTFUL
    assert not said(fake_record([2.0, 2.0, 2.0]), "few_repeats")


def test_few_processes(fake_record: Make) -> None:
    assert said(fake_record([2.0] * 6, [2.1] * 6), "few_repeats") == [
        ("doubtful", {"variant": "processes", "count": 2, "needed": 3})
    ]
    found = fake_record([2.0], [2.1], [2.05])
    assert not said(found, "few_repeats")
    interval = summary_of(found).generation_tokens_per_s.interval
    assert interval is not None
    assert interval.over == "processes"


def of_spread(fake_record: Make, share: float, signs: tuple[int, ...] = (1, -1, -1, 1, 1, -1)) -> Judged:
    """Speeds around 50 tokens/s with this standard deviation, as many above as below."""
    unit = share * ((len(signs) - 1) / sum(map(abs, signs))) ** 0.5
    return fake_record([101 / (50 * (1 + unit * sign)) for sign in signs])


def test_wide_interval(fake_record: Make) -> None:
    # ±5 % of the mean is 2.5706 × stdev / sqrt(6): a stdev of 4.764 %
    ((severity, values),) = said(of_spread(fake_record, 0.0478), "wide_interval")
    assert (severity, values["variant"]) == ("doubtful", "repeats")
    assert values["share"] == pytest.approx(2.570582 * 0.0478 / 6**0.5)
    assert not codes(of_spread(fake_record, 0.0475))


def test_the_bar_is_the_same_for_three_repeats(fake_record: Make) -> None:
    # 4.3027 × stdev / sqrt(3): a stdev of 2.0127 %
    assert not codes(of_spread(fake_record, 0.0201, (1, -1, 0)))
    ((severity, values),) = said(of_spread(fake_record, 0.0202, (1, -1, 0)), "wide_interval")
    assert (severity, values["share"]) == ("doubtful", pytest.approx(4.302653 * 0.0202 / 3**0.5))


def test_the_cure_of_a_wide_interval_is_one_that_works(fake_record: Make) -> None:
    """As many repeats as make ±5 % of that spread; where those are more than --precision takes, none are asked for."""
    ((_, some),) = said(of_spread(fake_record, 0.10, (1, -1, 0)), "wide_interval")
    assert (some["variant"], some["needed"]) == ("repeats", repeats_needed([90, 110, 100], 0.05))
    ((_, many),) = said(of_spread(fake_record, 0.13, (1, -1, 0)), "wide_interval")
    assert (many["variant"], many["over"]) == ("many", "repeats")
    assert many["needed"] == repeats_needed([87, 113, 100], 0.05) > 30


def test_the_cure_of_a_wide_interval_of_processes(fake_record: Make) -> None:
    ((_, values),) = said(fake_record([2.0], [2.2], [2.1]), "wide_interval")
    assert values["variant"] == "processes"


def test_wide_spread_where_repeats_depend(fake_record: Make) -> None:
    """A trend that is not sure is a note and leaves no interval: the range stands in for it."""
    wide_s = [2.0, 2.125, 2.075, 2.25, 2.15, 2.325]  # p is 3 %
    found = fake_record(wide_s)
    assert [severity for severity, _ in said(found, "trend")] == ["note"]
    values = {"minimum_tokens_per_s": 101 / 2.325, "maximum_tokens_per_s": 50.5, "needed": 3}
    assert said(found, "wide_spread") == [("doubtful", pytest.approx(values))]
    near = fake_record([2.0, 2.05, 2.03, 2.1, 2.06, 2.13])
    assert summary_of(near).generation_tokens_per_s.interval is None
    assert not said(near, "wide_spread")
    assert not said(fake_record([2.0, 3.0]), "wide_spread")  # too few are doubted by a rule of their own


VARIED_S = [2.0, 2.01, 1.99, 2.0, 2.01, 1.99, 2.0, 2.01]


def test_precision_is_reached(fake_record: Make) -> None:
    found = fake_record(VARIED_S, protocol={"repeats": 6, "max_repeats": 8, "precision": 0.01})
    assert len(found.record.samples) == 6
    assert codes(found) == []
    interval = summary_of(found).generation_tokens_per_s.interval
    assert interval is not None
    assert interval.method == "student_t_sequential"


def test_precision_is_not_reached(fake_record: Make) -> None:
    found = fake_record(VARIED_S, protocol={"repeats": 6, "max_repeats": 8, "precision": 0.001})
    assert len(found.record.samples) == 8
    ((severity, values),) = said(found, "precision_not_reached")
    assert severity == "doubtful"
    assert values.pop("needed") == repeats_needed([1 / time_s for time_s in VARIED_S], 0.001) > 30
    assert values == {
        "variant": "many",
        "wanted": 0.001,
        "share": pytest.approx(0.0039, abs=5e-5),
        "count": 8,
        "over": "repeats",
    }


def test_what_would_reach_the_precision(fake_record: Make) -> None:
    found = fake_record(VARIED_S, protocol={"repeats": 6, "max_repeats": 8, "precision": 0.003})
    ((_, values),) = said(found, "precision_not_reached")
    assert (values["variant"], values["needed"]) == ("repeats", repeats_needed([1 / one for one in VARIED_S], 0.003))
    assert 8 < float(values["needed"]) <= 30


DEFAULT = {"repeats": 3, "max_repeats": 6, "precision": 0.02, "max_seconds": 60.0}


def test_the_default_ends_when_the_speed_is_known(fake_record: Make) -> None:
    found = fake_record(VARIED_S, protocol=DEFAULT)
    assert len(found.record.samples) == 3
    assert codes(found) == []
    interval = summary_of(found).generation_tokens_per_s.interval
    assert interval is not None
    assert (interval.method, interval.independence) == ("student_t_sequential", "assumed")


def test_the_default_precision_is_no_demand(fake_record: Make) -> None:
    """After six repeats ±3.7 % are a note with the way to ±2 %; only ±5 % is a bar."""
    times_s = [2.0, 2.1, 2.02, 2.12, 2.0, 2.08]
    found = fake_record(times_s, protocol=DEFAULT)
    assert len(found.record.samples) == 6
    ((severity, values),) = said(found, "precision_not_reached")
    assert (severity, values["variant"], values["count"]) == ("note", "default", 6)
    assert 0.02 < float(values["share"]) < 0.05
    assert values["needed"] == repeats_needed([101 / time_s for time_s in times_s], 0.02)
    assert found.judgement.verdict is Verdict.VALID


def test_a_default_that_is_far_from_precise_is_told_once(fake_record: Make) -> None:
    found = fake_record([2.0, 2.4, 2.1, 2.5, 2.0, 2.3], protocol=DEFAULT)
    assert said(found, "wide_interval")
    assert not said(found, "precision_not_reached")


def test_the_default_ends_after_its_time_but_not_before_three(fake_record: Make) -> None:
    slow = fake_record([31.0, 35.0, 31.0, 35.0], protocol=DEFAULT)
    assert len(slow.record.samples) == 3


def test_precision_needs_an_interval(fake_record: Make) -> None:
    rising_s = [2.0, 2.02, 2.04, 2.06, 2.08, 2.1]
    found = fake_record(rising_s, protocol={"repeats": 6, "max_repeats": 6, "precision": 0.05})
    values = {"variant": "no_interval", "wanted": 0.05, "count": 6, "over": "repeats"}
    assert said(found, "precision_not_reached") == [("doubtful", values)]


def test_repeats_end_when_the_time_is_spent(fake_record: Make) -> None:
    # 2 s each: the sixth ends at 12 s, the ninth at 18 s
    protocol = {"repeats": 6, "max_repeats": 30, "precision": 0.001, "max_seconds": 17.0}
    assert len(fake_record([2.0, 2.01, 1.99] * 10, protocol=protocol).record.samples) == 9
    short = {**protocol, "max_seconds": 1.0}
    assert len(fake_record([2.0, 2.01, 1.99] * 10, protocol=short).record.samples) == 6


@pytest.mark.parametrize(
    ("firsts_s", "seen_ms"),
    [((0.5, 0.52, 0.48), None), ((0.5, 0.54, 0.46), None), ((0.5, 0.55, 0.45), "500, 550, 450")],
)
def test_wide_first_token(fake_record: Make, firsts_s: tuple[float, ...], seen_ms: str | None) -> None:
    """±10 % of three is a stdev of 4.03 %; the speed of 101 tokens is hardly touched by any of these."""
    firsts = dict(enumerate((0.5, *firsts_s)))
    found = fake_record(requests={number: (first_s, 0.1) for number, first_s in firsts.items()})
    wide = seen_ms or (np.std(firsts_s, ddof=1) / 0.5 > 0.0403 and "500, 540, 460")
    assert said(found, "wide_first_token") == ([("doubtful", {"seen_ms": wide})] if wide else [])
    assert found.judgement.verdict is Verdict.VALID


def test_the_first_tokens_of_many_repeats_are_told_as_a_range(fake_record: Make) -> None:
    firsts_s = (0.5, 0.5, 0.6, 0.3, 0.5, 0.7, 0.35, 0.5)
    found = fake_record(protocol={"repeats": 7}, requests={n: (first_s, 0.1) for n, first_s in enumerate(firsts_s)})
    assert said(found, "wide_first_token") == [("doubtful", {"seen_ms": "300 ... 700"})]


def test_first_tokens_that_depend_on_each_other_are_judged_by_their_range(fake_record: Make) -> None:
    rising = {number: (0.5 + step * number, 0.1) for step in (0.01,) for number in range(7)}
    assert "wide_first_token" not in codes(fake_record(protocol={"repeats": 6}, requests=rising))
    rising = {number: (0.5 + 0.05 * number, 0.1) for number in range(7)}
    assert "wide_first_token" in codes(fake_record(protocol={"repeats": 6}, requests=rising))


def test_wide_percentiles(fake_record: Make) -> None:
    """The pace of a repeat is another each time, which its own speed shows too."""
    found = fake_record(requests={0: (0.1, 0.1), 1: (0.1, 0.08), 2: (0.1, 0.1), 3: (0.1, 0.12)})
    assert said(found, "wide_percentiles") == [("doubtful", {"seen_ms": "p50 80, 100, 120; p90 80, 100, 120"})]
    assert found.judgement.verdicts["percentiles"] is Verdict.DOUBTFUL
    assert not said(fake_record([2.0, 2.0, 2.0]), "wide_percentiles")


@pytest.mark.parametrize(("coarse", "fine"), [((False, False, False), None), ((False, True, None), 1)])
def test_coarse_energy(fake_record: Make, coarse: tuple[bool | None, ...], fine: int | None) -> None:
    energies = [None if one is None else Energy(source="counter", total_joules=9.0, too_coarse=one) for one in coarse]
    samples = [{"readings": Readings(count=1, energy=energy)} for energy in energies]
    found = with_samples(fake_record([2.0] * 3), *samples)
    assert said(found, "coarse_energy") == ([("doubtful", {"fine": fine, "count": 3})] if fine else [])
    assert found.judgement.verdicts["energy"] is (Verdict.DOUBTFUL if fine else Verdict.VALID)
    assert found.judgement.verdict is Verdict.VALID


def test_dependent_part(fake_record: Make) -> None:
    # the same request times; the first token comes ever later, the others ever faster
    steps = {number: (0.5 + 0.1 * number, 0.015 - 0.001 * number) for number in range(1, 7)}
    found = fake_record(protocol={"repeats": 6}, requests={0: (1.0, 0.01)} | steps)
    assert said(found, "dependent_part") == [
        ("note", {"variant": "time_to_first_token"}),
        ("note", {"variant": "decode_rate"}),
    ]
    assert found.judgement.verdict is Verdict.VALID


def test_one_token_has_no_decode_rate(fake_record: Make) -> None:
    found = fake_record([2.0] * 6, workload={"generate_length": 1})
    assert codes(found) == []
    assert summary_of(found).decode_tokens_per_s is None
    assert summary_of(found).sequence_decode_tokens_per_s is None
