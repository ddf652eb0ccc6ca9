"""The rules about how well the speed is known: each speaks of one record, and passes a near miss."""

import pytest

from speed_benchmark.judge.judgement import Judged, Verdict
from tests.judge.judging import Make, codes, said, summary_of


def test_few_repeats(fake_record: Make) -> None:
    found = fake_record([2.0, 2.01, 2.0, 2.01, 2.0])
    assert said(found, "few_repeats") == [("note", {"variant": "repeats", "count": 5, "needed": 6})]
    assert summary_of(found).generation_tokens_per_s.interval is None
    assert not said(fake_record([2.0, 2.01, 2.0, 2.01, 2.0, 2.01]), "few_repeats")


def test_few_processes(fake_record: Make) -> None:
    assert said(fake_record([2.0] * 6, [2.1] * 6), "few_repeats") == [
        ("note", {"variant": "processes", "count": 2, "needed": 3})
    ]
    found = fake_record([2.0], [2.1], [2.05])
    assert not said(found, "few_repeats")
    interval = summary_of(found).generation_tokens_per_s.interval
    assert interval is not None
    assert interval.over == "processes"


def test_wide_interval(fake_record: Make) -> None:
    # ±5 % of the mean is 2.5706 × stdev / sqrt(6): a stdev of 4.764 %
    def of_spread(share: float) -> Judged:
        speeds = [50 * (1 + share * (5 / 6) ** 0.5 * sign) for sign in (1, -1, -1, 1, 1, -1)]
        return fake_record([101 / speed for speed in speeds])

    assert said(of_spread(0.0478), "wide_interval") == [
        ("doubtful", {"share": pytest.approx(2.570582 * 0.0478 / 6**0.5)})
    ]
    assert not codes(of_spread(0.0475))


def test_wide_spread_without_an_interval(fake_record: Make) -> None:
    # 101 tokens: 50.5 and 45.64 tokens/s are 10.1 % of their mean apart
    assert said(fake_record([2.0, 2.0, 2.213]), "wide_spread") == []
    assert said(fake_record([2.0, 2.213]), "wide_spread") == [
        ("doubtful", pytest.approx({"minimum_tokens_per_s": 101 / 2.213, "maximum_tokens_per_s": 50.5}))
    ]
    assert not said(fake_record([2.0, 2.21]), "wide_spread")


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
    values = {"wanted": 0.001, "share": pytest.approx(0.0038, abs=5e-5), "count": 8, "over": "repeats"}
    assert said(found, "precision_not_reached") == [("doubtful", values)]


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
