"""The rules about how the repeats vary: each speaks of one record, and passes a near miss."""

import pytest

from speed_benchmark.judge.judgement import Verdict
from speed_benchmark.judge.statistics import autocorrelation_p
from tests.judge.judging import Make, said, summary_of


def test_slow_first_repeat(fake_record: Make) -> None:
    # the others: mean 2, stdev 0.01; the t of 4 degrees of freedom at 99 % is 3.747, so the limit is
    # 2 + 3.747 × 0.01 × sqrt(1 + 1/5) = 2.0410
    others = [2.0, 2.0, 2.0, 2.0 + 0.02**0.5 / 10, 2.0 - 0.02**0.5 / 10]
    slow = fake_record([2.0411, *others])
    assert said(slow, "slow_first_repeat") == [
        ("doubtful", {"time_s": pytest.approx(2.0411), "others_s": pytest.approx(2.0), "needed": 2})
    ]
    assert slow.judgement.verdict is Verdict.DOUBTFUL


@pytest.mark.parametrize(("first", "slow"), [(2.0509, False), (2.0517, True), (1.0, False)])
def test_a_first_repeat_that_is_not_slow(fake_record: Make, first: float, slow: bool) -> None:
    # others: mean 2, stdev 0.0125, limit 2.0513; and a fast first one is an outlier, if anything
    others = [2.0, 2.0, 2.0, 2.0 + 0.02**0.5 / 8, 2.0 - 0.02**0.5 / 8]
    assert bool(said(fake_record([first, *others]), "slow_first_repeat")) is slow


def test_a_slow_first_repeat_that_is_too_little_to_matter(fake_record: Make) -> None:
    assert said(fake_record([2.0401, 2.0, 2.0]), "slow_first_repeat")
    assert not said(fake_record([2.0399, 2.0, 2.0]), "slow_first_repeat")
    assert not said(fake_record([4.0, 2.0]), "slow_first_repeat")  # two can't tell which one is off


def test_a_slow_first_repeat_of_a_process(fake_record: Make) -> None:
    assert said(fake_record([2.0] * 3, [3.0, 2.0, 2.1]), "slow_first_repeat") == []
    found = fake_record([2.0] * 3, [3.0, 2.0, 2.02], protocol={"warmups": 3})
    values = {"variant": "of_process", "process": 2, "time_s": 3.0, "others_s": pytest.approx(2.01), "needed": 4}
    assert said(found, "slow_first_repeat") == [("doubtful", values)]
    assert not said(found, "outlier")


def test_outliers(fake_record: Make) -> None:
    found = fake_record([2.0, 2.001, 1.999, 2.5, 2.0, 2.001, 1.999])
    assert said(found, "outlier") == [("note", {"repeat": 4, "time_s": 2.5, "others_s": pytest.approx(2.0)})]
    assert summary_of(found).duration_s.mean == pytest.approx(14.5 / 7)
    assert summary_of(found).duration_s.maximum == 2.5


def test_an_outlier_of_a_process(fake_record: Make) -> None:
    found = fake_record([2.0] * 5, [9.0, 2.1, 2.0, 2.0, 2.0])
    values = {"variant": "of_process", "process": 2, "repeat": 2, "time_s": pytest.approx(2.1), "others_s": 2.0}
    assert said(found, "outlier") == [("note", values)]


@pytest.mark.parametrize(("time_s", "count"), [(2.0820, 0), (2.0830, 1)])
def test_an_outlier_that_chance_explains(fake_record: Make, time_s: float, count: int) -> None:
    # others: mean 2, stdev 0.01, and p below 0.01 / 6 two-sided: t of 4 degrees of freedom 7.5287, limit 2.0825
    others = [2.0, 2.0, 2.0 + 0.02**0.5 / 10, 2.0 - 0.02**0.5 / 10, 2.0]
    assert len(said(fake_record([*others[:3], time_s, *others[3:]]), "outlier")) == count


def test_an_outlier_that_is_too_little_to_matter(fake_record: Make) -> None:
    assert not said(fake_record([2.0, 2.0, 2.0399, 2.0]), "outlier")
    assert said(fake_record([2.0, 2.0, 2.0401, 2.0]), "outlier")


def test_the_others_of_a_slow_first_repeat_are_judged_without_it(fake_record: Make) -> None:
    found = fake_record([9.0, 2.0, 2.0, 2.0, 2.2, 2.0])
    assert len(said(found, "slow_first_repeat")) == 1
    assert said(found, "outlier") == [("note", {"repeat": 5, "time_s": pytest.approx(2.2), "others_s": 2.0})]
    assert said(fake_record([9.0, 2.0, 2.0, 2.0, 2.0, 2.0]), "outlier") == []


RISING_S = [2.0, 2.02, 2.04, 2.06, 2.08, 2.1]


@pytest.mark.parametrize(("times_s", "variant"), [(RISING_S, "falls"), (RISING_S[::-1], "rises")])
def test_trend(fake_record: Make, times_s: list[float], variant: str) -> None:
    # 101 tokens in 2 … 2.1 s: a line through the speeds falls by 2.4045 from 49.282 on average
    found = fake_record(times_s)
    share = pytest.approx(2.404487 / 49.281977)
    assert said(found, "trend") == [("doubtful", {"variant": variant, "share": share, "count": 6, "over": "repeats"})]
    assert summary_of(found).generation_tokens_per_s.interval is None
    assert not said(found, "autocorrelation")


def test_a_trend_of_processes(fake_record: Make) -> None:
    ((_, values),) = said(fake_record(*([time_s] for time_s in RISING_S)), "trend")
    assert values["over"] == "processes"


def test_a_trend_too_small_to_matter_is_a_note(fake_record: Make) -> None:
    found = fake_record([2.0, 2.004, 2.008, 2.012, 2.016, 2.02])
    ((severity, values),) = said(found, "trend")
    assert (severity, values["share"]) == ("note", pytest.approx(0.00995, rel=1e-3))
    assert summary_of(found).generation_tokens_per_s.interval is None


def test_a_trend_that_is_not_sure_is_a_note(fake_record: Make) -> None:
    # p is 3.1 %
    ((severity, _),) = said(fake_record([2.0, 2.05, 2.03, 2.1, 2.06, 2.13]), "trend")
    assert severity == "note"


def test_no_trend(fake_record: Make) -> None:
    assert not said(fake_record([2.0, 2.06, 2.0, 2.1, 2.02, 2.05]), "trend")
    assert not said(fake_record(RISING_S[:5]), "trend")  # too few to tell
    assert not said(fake_record([2.0 + 1e-7 * step for step in range(6)]), "trend")  # rounding


def test_autocorrelation(fake_record: Make) -> None:
    wave = [2.0, 2.03, 2.05, 2.05, 2.03, 2.0, 2.0, 2.03, 2.05, 2.05, 2.03, 2.0]
    found = fake_record(wave)
    chance = pytest.approx(float(autocorrelation_p([101 / time_s for time_s in wave])))
    assert said(found, "autocorrelation") == [("note", {"over": "repeats", "chance": chance, "needed": 3})]
    assert not said(found, "trend")
    assert summary_of(found).generation_tokens_per_s.interval is None
    shuffled = [wave[index] for index in (0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11)]
    assert not said(fake_record(shuffled), "autocorrelation")


@pytest.mark.parametrize(("size", "severity"), [(0.05, "doubtful"), (0.03, "note")])
def test_an_autocorrelation_that_is_sure_and_matters(fake_record: Make, size: float, severity: str) -> None:
    """A range of 2.5 % or of 1.5 %; twelve of these were not enough to be sure."""
    wave = [2.0 + size * step for step in (0, 0.6, 1, 1, 0.6, 0)] * 4
    ((found, values),) = said(fake_record(wave), "autocorrelation")
    assert (found, float(values["chance"]) < 0.01) == (severity, True)


def test_bimodal(fake_record: Make) -> None:
    found = fake_record([2.0, 3.0, 2.01, 2.99, 2.0, 3.0, 3.01, 2.0])
    assert said(found, "bimodal") == [
        (
            "doubtful",
            {
                "fast_count": 4,
                "fast_s": pytest.approx(8.01 / 4),
                "slow_count": 4,
                "slow_s": pytest.approx(3.0),
            },
        )
    ]


def test_not_bimodal(fake_record: Make) -> None:
    assert not said(fake_record([2.0, 3.0, 2.01, 2.99, 2.0, 3.0, 3.01]), "bimodal")  # 7 are too few
    assert not said(fake_record([2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 2.1, 2.3]), "bimodal")  # spread evenly
    assert not said(fake_record([2.0, 2.039] * 4), "bimodal")  # too little to matter
    assert said(fake_record([2.0, 2.041] * 4), "bimodal")
    assert not said(fake_record([2.0] * 7 + [3.0]), "bimodal")  # one is an outlier


def test_bimodal_processes(fake_record: Make) -> None:
    assert said(fake_record([2.0] * 4, [3.0] * 4), "bimodal")
