"""The rules about what was asked for: each speaks of one record, and passes a near miss."""

from typing import Any

import pytest

from speed_benchmark.judge.judgement import Verdict
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.sample import Sample
from tests.judge.judging import Make, again, codes, said, with_samples, with_second


def counted(
    repeat: int = 2, prompt: int = 5, output: int = 101, timed: int = 101, asked: tuple[int, int] = (5, 101)
) -> tuple[str, dict[str, Any]]:
    values = {
        "repeat": repeat,
        "prompt_tokens": prompt,
        "output_tokens": output,
        "timed_tokens": timed,
        "asked_prompt_tokens": asked[0],
        "asked_output_tokens": asked[1],
    }
    return "invalid", values


@pytest.mark.parametrize(("action", "tokens"), [("fewer_tokens", 100), ("more_tokens", 102), ("early_end", 50)])
def test_token_counts(fake_record: Make, action: str, tokens: int) -> None:
    found = fake_record([2.0] * 3, faults=[{"at": "generate", "action": action, "request": 2}])
    assert said(found, "token_counts") == [counted(output=tokens, timed=tokens)]
    assert found.judgement.verdict is Verdict.INVALID
    # a fault of a warm-up counts for nothing
    assert not codes(fake_record([2.0] * 6, faults=[{"at": "generate", "action": action, "request": 0}]))


def test_tokens_counted_twice(fake_record: Make) -> None:
    times = tuple(0.01 * (1 + index // 2) for index in range(202))
    assert said(with_second(fake_record([2.0] * 3), token_times_s=times), "token_counts") == [counted(timed=202)]


def test_a_prompt_of_another_length(fake_record: Make) -> None:
    assert said(with_second(fake_record([2.0] * 3), prompt_tokens=6), "token_counts") == [counted(prompt=6)]


def test_no_tokens_is_invalid_and_has_no_summary(fake_record: Make) -> None:
    found = fake_record([2.0] * 3, faults=[{"at": "generate", "action": "no_tokens", "request": 3}])
    assert found.judgement.summary is None
    assert codes(found) == ["token_counts", "token_times"]


def test_each_sequence_of_a_batch_is_counted(fake_record: Make) -> None:
    batch = fake_record([2.0] * 6, workload={"batch_size": 3})
    assert codes(batch) == []
    first, second, third = batch.record.samples[1].sequences
    short = second.model_copy(update={"output_tokens": 100})
    _, values = counted(output=100)
    assert said(with_samples(batch, {}, {"sequences": (first, short, third)}), "token_counts") == [
        ("invalid", values | {"variant": "sequence", "sequence": 2})
    ]


@pytest.mark.parametrize("sequences", [0, 1, 2, 4])
def test_a_batch_of_another_size(fake_record: Make, sequences: int) -> None:
    batch = fake_record([2.0] * 6, workload={"batch_size": 3})
    others = (batch.record.samples[1].sequences * 2)[:sequences]
    values = {"variant": "batch_size", "repeat": 2, "sequences": sequences, "asked_sequences": 3}
    assert said(with_samples(batch, {}, {"sequences": others}), "token_counts") == [("invalid", values)]


def test_token_times(fake_record: Make) -> None:
    backward = fake_record([2.0] * 3, faults=[{"at": "generate", "action": "backward_times", "request": 3}])
    assert said(backward, "token_times") == [("invalid", {"repeat": 3})]
    good = fake_record([2.0] * 6)
    times_s = good.record.samples[1].sequences[0].token_times_s
    assert said(with_second(good, duration_s=times_s[-1] - 1e-9), "token_times")
    assert not said(with_second(good, duration_s=times_s[-1]), "token_times")
    assert said(with_second(good, token_times_s=(-1e-9, *times_s[1:])), "token_times")
    assert not said(with_second(good, token_times_s=(times_s[1], *times_s[1:])), "token_times")
    assert said(with_second(good, duration_s=0.0, token_times_s=()), "token_times")


def test_token_times_of_any_sequence(fake_record: Make) -> None:
    batch = fake_record([2.0] * 6, workload={"batch_size": 2})
    first, second = batch.record.samples[1].sequences
    late = second.model_copy(update={"token_times_s": (*second.token_times_s[:-1], 2.1)})
    assert said(with_samples(batch, {}, {"sequences": (first, late)}), "token_times") == [("invalid", {"repeat": 2})]


def missing(repeats: float, process: int = 1, asked: int = 6) -> list[tuple[str, dict[str, Any]]]:
    return [("invalid", {"process": process, "repeats": repeats, "asked_repeats": asked})]


def test_missing_repeats(fake_record: Make) -> None:
    whole = fake_record([2.0] * 6)
    samples = whole.record.samples
    short = again(whole, samples=samples[:5])
    assert said(short, "missing_repeats") == missing(5)
    assert said(again(whole, samples=(*samples, samples[0])), "missing_repeats") == missing(7)
    assert not said(again(short, outcome=Outcome.CRASHED), "missing_repeats")


def test_missing_repeats_of_a_process(fake_record: Make) -> None:
    whole = fake_record([2.0] * 3, [2.0] * 3, [2.0] * 3)
    assert not said(whole, "missing_repeats")
    short = again(whole, samples=whole.record.samples[:8])
    assert said(short, "missing_repeats") == missing(2, process=3, asked=3)


def test_missing_repeats_when_stopping_early(fake_record: Make) -> None:
    whole = fake_record([2.0] * 8, protocol={"repeats": 6, "max_repeats": 8, "precision": 0.01})
    samples = whole.record.samples * 2
    assert len(whole.record.samples) == 6
    found = [bool(said(again(whole, samples=samples[:count]), "missing_repeats")) for count in (5, 6, 8, 9)]
    assert found == [True, False, False, True]


def test_windows_have_lengths_of_their_own(fake_record: Make) -> None:
    quick = fake_record(protocol={"repeats": 6, "quick": True})
    samples = quick.record.samples
    assert [(sample.prompt_tokens, sample.output_tokens) for sample in samples[:2]] == [(5, 48), (58, 48)]

    def swapped(sample: Sample) -> Sample:
        return sample.model_copy(update={"window": "end" if sample.window == "start" else "start"})

    found = said(again(quick, samples=tuple(map(swapped, samples))), "token_counts")
    assert found[0] == counted(1, 5, 48, 48, (58, 48))
    assert said(again(quick, samples=samples[:-1]), "missing_repeats") == missing(5.5)
