"""The rules about how it was measured: each speaks of one record, and passes a near miss."""

import pytest

from tests.judge.judging import Make, again, codes, said


@pytest.mark.parametrize(
    ("rate", "severity"),
    [
        # 14 s in all, of which 10 ms are let pass
        (1 + 0.001 + 0.009 / 14, None),
        (1 + 0.001 + 0.011 / 14, "doubtful"),
        (1 - 0.001 - 0.011 / 14, "doubtful"),
        (1 + 0.01 + 0.009 / 14, "doubtful"),
        (1 + 0.01 + 0.011 / 14, "invalid"),
        (1 - 0.01 - 0.011 / 14, "invalid"),
    ],
)
def test_clocks(fake_record: Make, rate: float, severity: str | None) -> None:
    found = said(fake_record([2.0] * 6, unix_rate=rate), "clocks")
    assert [one for one, _ in found] == ([severity] if severity else [])


def test_clocks_say_both_times(fake_record: Make) -> None:
    ((severity, values),) = said(fake_record([2.0] * 6, unix_rate=1.5), "clocks")
    assert (severity, values) == ("invalid", pytest.approx({"measured_s": 14.0, "system_s": 21.0}))


def test_clocks_are_held_against_each_other_in_each_process(fake_record: Make) -> None:
    assert len(said(fake_record([2.0] * 3, [2.0] * 3, unix_rate=1.5), "clocks")) == 2


@pytest.mark.parametrize("field", ["started_at_s", "ended_at_unix_s"])
def test_clocks_of_a_sample_without_them(fake_record: Make, field: str) -> None:
    before = fake_record([2.0] * 6, unix_rate=1.5)
    samples = tuple(sample.model_copy(update={field: None}) for sample in before.record.samples)
    assert not said(again(before, samples=samples), "clocks")


def test_clocks_of_one_process_alone(fake_record: Make) -> None:
    two = fake_record([2.0] * 3, [2.0] * 3, unix_rate=1.5)
    samples = two.record.samples
    partly = [sample.model_copy(update={"started_at_s": None}) for sample in samples[:3]]
    assert len(said(again(two, samples=(*partly, *samples[3:])), "clocks")) == 1
    assert len(said(again(two, samples=samples[3:], warmups=two.record.warmups[1:]), "clocks")) == 1


def test_no_warmup(fake_record: Make) -> None:
    assert said(fake_record([2.0] * 6, protocol={"warmups": 0}), "no_warmup") == [("doubtful", {})]
    assert not codes(fake_record([2.0] * 6, protocol={"warmups": 1}))
