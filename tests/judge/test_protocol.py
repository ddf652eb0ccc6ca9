"""The rules about how it was measured: each speaks of one record, and passes a near miss."""

import pytest

from speed_benchmark.judge.judge import judged
from tests.judge.judging import Make, again, codes, said, with_samples


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


def test_clocks_of_a_record_without_an_end_on_the_systems(fake_record: Make) -> None:
    before = fake_record([2.0] * 6, unix_rate=1.5).record
    warmups, samples = (
        tuple(one.model_copy(update={"ended_at_unix_s": None}) for one in requests)
        for requests in (before.warmups, before.samples)
    )
    assert not said(again(judged(before), warmups=warmups, samples=samples), "clocks")


def test_clocks_of_one_process_alone(fake_record: Make) -> None:
    two = fake_record([2.0] * 3, [2.0] * 3, unix_rate=1.5)
    samples = two.record.samples
    assert len(said(again(two, samples=samples[3:], warmups=two.record.warmups[1:]), "clocks")) == 1


@pytest.mark.attack("4.7")
def test_clocks_of_a_record_without_starts_are_held_against_each_other_in_its_requests(fake_record: Make) -> None:
    """To take the starts away hid that all times were shorter than they had been."""
    two = fake_record([2.0] * 3, [2.0] * 3, unix_rate=1.2)
    partly = [sample.model_copy(update={"started_at_s": None}) for sample in two.record.samples[:3]]
    found = said(again(two, samples=(*partly, *two.record.samples[3:])), "clocks")
    requests = {"variant": "requests", "measured_s": pytest.approx(8.0), "system_s": pytest.approx(9.6)}
    assert found == [("invalid", requests), ("invalid", pytest.approx({"measured_s": 8.0, "system_s": 9.6}))]


@pytest.mark.attack("4.7")
@pytest.mark.parametrize("last", [False, True])
def test_clocks_of_requests_that_were_made_faster(fake_record: Make, last: bool) -> None:
    """From first to last nothing was wrong: the last one was left as it was, or its start was moved to suit."""
    honest = fake_record([2.0] * 6)
    changed = [
        {
            "duration_s": sample.duration_s / 1.2,
            "started_at_s": (sample.started_at_s or 0) + (sample.duration_s / 6 if number == 5 else 0),
            "sequences": tuple(
                one.model_copy(update={"token_times_s": tuple(time_s / 1.2 for time_s in one.token_times_s)})
                for one in sample.sequences
            ),
        }
        for number, sample in enumerate(honest.record.samples)
    ]
    found = with_samples(honest, *changed[: 6 if last else 5])
    ((severity, values),) = said(found, "clocks")
    assert (severity, values["variant"]) == ("invalid", "requests")


@pytest.mark.parametrize(
    ("longer_s", "severity"), [(0.023, None), (0.025, "doubtful"), (0.149, "doubtful"), (0.151, "invalid")]
)
def test_clocks_that_differ_in_one_request(fake_record: Make, longer_s: float, severity: str | None) -> None:
    """Of 14 s in all 10 ms are let pass, and 0.1 % or 1 % beyond; what another one lacks does not even that out."""
    honest = fake_record([2.0] * 6)
    ends = [sample.ended_at_unix_s or 0 for sample in honest.record.samples]
    changed = ({"ended_at_unix_s": ends[0] + longer_s / 2}, {"ended_at_unix_s": ends[1] - longer_s / 2})
    assert [one for one, _ in said(with_samples(honest, *changed), "clocks")] == ([severity] if severity else [])


def test_no_warmup(fake_record: Make) -> None:
    assert said(fake_record([2.0] * 6, protocol={"warmups": 0}), "no_warmup") == [("doubtful", {})]
    assert not codes(fake_record([2.0] * 6, protocol={"warmups": 1}))
