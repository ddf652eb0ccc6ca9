"""Every rule, against the fake engine: one record that it speaks of, word for word, and a near miss that it passes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest

from speed_benchmark.judge.checks import judge
from speed_benchmark.judge.statistics import without_intervals
from speed_benchmark.record.record import (
    Agreement,
    Audit,
    Finding,
    Outcome,
    Profile,
    Rates,
    Record,
    Sample,
    Severity,
    Share,
    Verdict,
    Work,
)

Make = Callable[..., Record]
Dtype = Literal["auto", "float16"]


def found(record: Record, code: str) -> list[Finding]:
    return [finding for finding in record.findings if finding.code == code]


def texts(record: Record, code: str) -> list[str]:
    return [f"{finding.severity}: {finding.text}; {finding.cure}" for finding in found(record, code)]


def changed(record: Record, **sample: Any) -> Record:
    """`record` with other values in its second sample, judged again."""
    samples = list(record.samples)
    samples[1] = samples[1].model_copy(update=sample)
    return judge(record.model_copy(update={"samples": tuple(samples)}))


def audited(record: Record, repeated_s: tuple[float, ...], distinct_s: tuple[float, ...]) -> Record:
    return judge(record.model_copy(update={"audit": Audit(repeated_s=repeated_s, distinct_s=distinct_s)}))


def test_a_steady_record_has_nothing_to_doubt(fake_record: Make) -> None:
    record = fake_record([2.0, 2.01, 1.99, 2.02, 1.98, 2.0])
    assert record.findings == ()
    assert (record.verdict, record.outcome) == (Verdict.VALID, Outcome.OK)


def test_notes_leave_a_record_valid(fake_record: Make) -> None:
    record = fake_record([2.0, 2.0, 2.0])
    assert [finding.severity for finding in record.findings] == [Severity.NOTE]
    assert record.verdict is Verdict.VALID


def test_the_worst_finding_decides(fake_record: Make) -> None:
    doubtful = fake_record([2.0, 2.0, 2.0], protocol={"warmups": 0})
    assert (doubtful.verdict, doubtful.outcome) == (Verdict.DOUBTFUL, Outcome.OK)
    invalid = fake_record([2.0, 2.0, 2.0], protocol={"warmups": 0}, prefix_caching=True)
    assert (invalid.verdict, invalid.outcome) == (Verdict.INVALID, Outcome.INVALID)


@pytest.mark.parametrize("outcome", [Outcome.OOM, Outcome.TIMEOUT])
def test_what_failed_is_invalid_and_keeps_its_outcome(fake_record: Make, outcome: Outcome) -> None:
    record = fake_record([2.0] * 6, outcome=outcome)
    assert (record.verdict, record.outcome, record.findings) == (Verdict.INVALID, outcome, ())


def test_judging_again_changes_nothing(fake_record: Make) -> None:
    for record in (fake_record([2.0, 9.0, 2.0]), fake_record([2.0] * 3, prefix_caching=True)):
        assert judge(record) == record


@pytest.mark.parametrize(
    ("action", "seen"),
    [("fewer_tokens", "100 out, 100 timed"), ("more_tokens", "102 out, 102 timed"), ("early_end", "50 out, 50 timed")],
)
def test_token_counts(fake_record: Make, action: str, seen: str) -> None:
    record = fake_record([2.0] * 3, faults=[{"at": "generate", "action": action, "request": 2}])
    assert texts(record, "token_counts") == [
        f"invalid: repeat 2: 5 tokens in, {seen}; asked for 5 in and 101 out; "
        "report it: the engine did not do what was asked"
    ]
    assert record.outcome is Outcome.INVALID
    # a fault of a warm-up counts for nothing
    assert not fake_record([2.0] * 6, faults=[{"at": "generate", "action": action, "request": 0}]).findings


def test_tokens_counted_twice(fake_record: Make) -> None:
    times = tuple(0.01 * (1 + index // 2) for index in range(202))
    record = changed(fake_record([2.0] * 3), token_times_s=times)
    assert texts(record, "token_counts")[0].startswith("invalid: repeat 2: 5 tokens in, 101 out, 202 timed;")


def test_a_prompt_of_another_length(fake_record: Make) -> None:
    record = changed(fake_record([2.0] * 3), prompt_tokens=6)
    assert texts(record, "token_counts")[0].startswith("invalid: repeat 2: 6 tokens in, 101 out, 101 timed;")


def test_no_tokens_is_invalid_and_has_no_summary(fake_record: Make) -> None:
    record = fake_record([2.0] * 3, faults=[{"at": "generate", "action": "no_tokens", "request": 3}])
    assert record.summary is None
    assert [finding.code for finding in record.findings] == ["token_counts", "token_times"]


def test_token_times(fake_record: Make) -> None:
    backward = fake_record([2.0] * 3, faults=[{"at": "generate", "action": "backward_times", "request": 3}])
    assert texts(backward, "token_times") == [
        "invalid: repeat 3: the times of its tokens are not in order; report it: the clock or the engine is broken"
    ]
    good = fake_record([2.0] * 6)
    last_s = good.samples[1].token_times_s[-1]
    assert found(changed(good, duration_s=last_s - 1e-9), "token_times")
    assert not found(changed(good, duration_s=last_s), "token_times")
    early = (-1e-9, *good.samples[1].token_times_s[1:])
    assert found(changed(good, token_times_s=early), "token_times")
    twice = (good.samples[1].token_times_s[1], *good.samples[1].token_times_s[1:])
    assert not found(changed(good, token_times_s=twice), "token_times")
    assert found(changed(good, duration_s=0.0, token_times_s=()), "token_times")


def test_missing_repeats(fake_record: Make) -> None:
    record = fake_record([2.0] * 6)
    short = judge(record.model_copy(update={"samples": record.samples[:5]}))
    assert texts(short, "missing_repeats") == [
        "invalid: 5 repeats are there in process 1, 6 were asked for; measure again"
    ]
    long = judge(record.model_copy(update={"samples": (*record.samples, record.samples[0])}))
    assert texts(long, "missing_repeats") == [
        "invalid: 7 repeats are there in process 1, 6 were asked for; measure again"
    ]
    assert not found(judge(short.model_copy(update={"outcome": Outcome.CRASHED})), "missing_repeats")


def test_missing_repeats_of_a_process(fake_record: Make) -> None:
    record = fake_record([2.0] * 3, [2.0] * 3, [2.0] * 3)
    assert not found(record, "missing_repeats")
    short = judge(record.model_copy(update={"samples": record.samples[:8]}))
    assert texts(short, "missing_repeats") == [
        "invalid: 2 repeats are there in process 3, 3 were asked for; measure again"
    ]


def test_missing_repeats_when_stopping_early(fake_record: Make) -> None:
    protocol = {"repeats": 6, "max_repeats": 8, "precision": 0.01}
    record = fake_record([2.0] * 8, protocol=protocol)
    assert len(record.samples) == 6

    def with_samples(count: int) -> Record:
        return judge(record.model_copy(update={"samples": (record.samples * 2)[:count]}))

    assert [bool(found(with_samples(count), "missing_repeats")) for count in (5, 6, 8, 9)] == [True, False, False, True]


def test_weight_format(fake_record: Make) -> None:
    record = fake_record([2.0] * 6, quantization="GPTQ-Int4")
    assert texts(record, "weight_format") == [
        "invalid: the checkpoint is GPTQ-Int4, but the engine holds BF16; "
        "check the checkpoint, and that the engine supports its format on this machine"
    ]
    assert not fake_record([2.0] * 6, quantization="BF16").findings


@pytest.mark.parametrize(
    ("dtype", "promised", "holds", "wrong"),
    [
        ("auto", "BF16", "FP16", True),
        ("float16", "BF16", "FP16", False),
        ("float16", "BF16", "FP32", False),
        ("float16", "GPTQ-Int4", "FP16", True),
        ("float16", "BF16", "AWQ", True),
    ],
)
def test_weight_format_of_another_type(fake_record: Make, dtype: Dtype, promised: str, holds: str, wrong: bool) -> None:
    record = fake_record([2.0] * 6, quantization="BF16")
    assert record.checkpoint is not None
    assert record.loaded is not None
    cell = replace(record.cell, settings=replace(record.cell.settings, dtype=dtype))
    checkpoint = record.checkpoint.model_copy(update={"quantization": promised})
    loaded = record.loaded.model_copy(update={"quantization": holds})
    again = judge(record.model_copy(update={"cell": cell, "checkpoint": checkpoint, "loaded": loaded}))
    assert bool(found(again, "weight_format")) is wrong


def test_cached_prompt(fake_record: Make) -> None:
    record = fake_record([2.0] * 6, faults=[{"at": "generate", "action": "cached_prompt", "request": 2}])
    assert texts(record, "cached_prompt") == [
        "invalid: repeat 2: 16 prompt tokens came from a cache; switch prefix caching off"
    ]
    assert not fake_record([2.0] * 6, faults=[{"at": "generate", "action": "cached_prompt", "request": 0}]).findings


def test_prefix_caching(fake_record: Make) -> None:
    assert texts(fake_record([2.0] * 6, prefix_caching=True), "prefix_caching") == [
        "invalid: the engine reuses prompts of earlier requests; switch prefix caching off"
    ]


def test_faster_when_repeated(fake_record: Make) -> None:
    record = fake_record([2.0] * 6, protocol={"audit": True}, prefill_s=0.5, repeated_prefill_s=0.4, requests={})
    assert record.audit == Audit(repeated_s=(0.4,) * 5, distinct_s=(0.5,) * 5)
    assert texts(record, "faster_when_repeated") == [
        "invalid: first token after 0.4 s for a prompt sent before, 0.5 s for a new one: 20 % faster; "
        "switch off whatever caches prompts"
    ]


def test_as_fast_when_repeated(fake_record: Make) -> None:
    record = fake_record([2.0] * 6, protocol={"audit": True}, prefill_s=0.5, requests={})
    assert record.audit == Audit(repeated_s=(0.5,) * 5, distinct_s=(0.5,) * 5)
    assert not found(record, "faster_when_repeated")
    # exactly 10 % is let pass, and so is one repeated prompt that took as long as a new one
    assert not found(audited(record, (0.9,) * 5, (1.0,) * 5), "faster_when_repeated")
    assert found(audited(record, (0.899,) * 5, (1.0,) * 5), "faster_when_repeated")
    assert not found(audited(record, (0.5, 0.5, 0.5, 0.5, 1.0), (1.0,) * 5), "faster_when_repeated")
    assert not found(audited(record, (1.0,) * 5, (0.5,) * 5), "faster_when_repeated")
    assert not found(audited(record, (0.019,) * 5, (0.02,) * 5), "faster_when_repeated")


def test_not_finite(fake_record: Make) -> None:
    assert texts(fake_record([2.0] * 6, finite_logits=False), "not_finite") == [
        "invalid: the logits of a short prompt are not all finite; "
        "check the weights; --dtype bfloat16 reaches further than float16"
    ]
    assert not fake_record([2.0] * 6, finite_logits=True).findings


@pytest.mark.parametrize(("compared", "agreed", "count"), [(16, 0, 1), (16, 1, 0), (16, 16, 0), (0, 0, 0)])
def test_other_answer(fake_record: Make, compared: int, agreed: int, count: int) -> None:
    agreement = Agreement(engine="vllm", record_id="", compared=compared, agreed=agreed)
    judged = judge(fake_record([2.0] * 6).model_copy(update={"agreement": agreement}))
    assert texts(judged, "other_answer") == count * [
        "doubtful: the first token is not the one that vllm chose for the same prompt; "
        "see whether --dtype float32 agrees; if not, one of the engines computes something else"
    ]


@pytest.mark.parametrize(
    ("rate", "severity"),
    [
        # 14 s in all, of which 10 ms are let pass
        (1 + 0.001 + 0.009 / 14, None),
        (1 + 0.001 + 0.011 / 14, Severity.DOUBTFUL),
        (1 - 0.001 - 0.011 / 14, Severity.DOUBTFUL),
        (1 + 0.01 + 0.009 / 14, Severity.DOUBTFUL),
        (1 + 0.01 + 0.011 / 14, Severity.INVALID),
        (1 - 0.01 - 0.011 / 14, Severity.INVALID),
    ],
)
def test_clocks(fake_record: Make, rate: float, severity: Severity | None) -> None:
    findings = found(fake_record([2.0] * 6, unix_rate=rate), "clocks")
    assert [finding.severity for finding in findings] == ([severity] if severity else [])


def test_clocks_say_both_times(fake_record: Make) -> None:
    assert texts(fake_record([2.0] * 6, unix_rate=1.5), "clocks") == [
        "invalid: 14.000 s by the measurement's clock are 21.000 s by the system's; "
        "measure again while nothing sets the clock and the machine does not sleep"
    ]


def test_clocks_are_held_against_each_other_in_each_process(fake_record: Make) -> None:
    assert len(found(fake_record([2.0] * 3, [2.0] * 3, unix_rate=1.5), "clocks")) == 2


def test_clocks_of_a_sample_without_them(fake_record: Make) -> None:
    record = fake_record([2.0] * 6, unix_rate=1.5)
    for field in ("started_at_s", "ended_at_unix_s"):
        samples = tuple(sample.model_copy(update={field: None}) for sample in record.samples)
        assert not found(judge(record.model_copy(update={"samples": samples})), "clocks")
    two = fake_record([2.0] * 3, [2.0] * 3, unix_rate=1.5)
    first = [sample.process == 0 for sample in two.samples]
    partly = tuple(
        sample.model_copy(update={"started_at_s": None}) if gone else sample
        for gone, sample in zip(first, two.samples, strict=True)
    )
    assert len(found(judge(two.model_copy(update={"samples": partly})), "clocks")) == 1
    second = two.samples[3:]
    assert len(found(judge(two.model_copy(update={"samples": second, "warmups": two.warmups[1:]})), "clocks")) == 1


def test_no_warmup(fake_record: Make) -> None:
    assert texts(fake_record([2.0] * 6, protocol={"warmups": 0}), "no_warmup") == [
        "doubtful: nothing ran before the first repeat: start-up costs are part of it; --warmups 1"
    ]
    assert not fake_record([2.0] * 6, protocol={"warmups": 1}).findings


def test_slow_first_repeat(fake_record: Make) -> None:
    # the others: mean 2, stdev 0.01; the t of 4 degrees of freedom at 99 % is 3.747, so the limit is
    # 2 + 3.747 × 0.01 × sqrt(1 + 1/5) = 2.0410
    others = [2.0, 2.0, 2.0, 2.0 + 0.02**0.5 / 10, 2.0 - 0.02**0.5 / 10]
    slow = fake_record([2.0411, *others])
    assert texts(slow, "slow_first_repeat") == [
        "doubtful: repeat 1 took 2.041 s, the others 2 s on average; --warmups 2"
    ]
    assert slow.verdict is Verdict.DOUBTFUL


@pytest.mark.parametrize(("first", "slow"), [(2.0509, False), (2.0517, True), (1.0, False)])
def test_a_first_repeat_that_is_not_slow(fake_record: Make, first: float, slow: bool) -> None:
    # others: mean 2, stdev 0.0125, limit 2.0513; and a fast first one is an outlier, if anything
    others = [2.0, 2.0, 2.0, 2.0 + 0.02**0.5 / 8, 2.0 - 0.02**0.5 / 8]
    assert bool(found(fake_record([first, *others]), "slow_first_repeat")) is slow


def test_a_slow_first_repeat_that_is_too_little_to_matter(fake_record: Make) -> None:
    assert found(fake_record([2.0401, 2.0, 2.0]), "slow_first_repeat")
    assert not found(fake_record([2.0399, 2.0, 2.0]), "slow_first_repeat")
    assert not found(fake_record([4.0, 2.0]), "slow_first_repeat")  # two can't tell which one is off


def test_a_slow_first_repeat_of_a_process(fake_record: Make) -> None:
    record = fake_record([2.0] * 3, [3.0, 2.0, 2.1])
    assert texts(record, "slow_first_repeat") == []
    record = fake_record([2.0] * 3, [3.0, 2.0, 2.02])
    assert texts(record, "slow_first_repeat") == [
        "doubtful: process 2, repeat 1 took 3 s, the others 2.01 s on average; --warmups 2"
    ]
    assert not found(record, "outlier")


def test_an_outlier_of_a_process(fake_record: Make) -> None:
    record = fake_record([2.0] * 5, [9.0, 2.1, 2.0, 2.0, 2.0])
    assert [text.partition(" took")[0] for text in texts(record, "outlier")] == ["note: process 2, repeat 2"]


def test_outliers(fake_record: Make) -> None:
    record = fake_record([2.0, 2.001, 1.999, 2.5, 2.0, 2.001, 1.999])
    assert texts(record, "outlier") == [
        "note: repeat 4 took 2.5 s, the others 2 s on average; see what else ran then; it is part of every figure"
    ]
    assert record.summary is not None
    assert record.summary.duration_s.mean == pytest.approx(14.5 / 7)
    assert record.summary.duration_s.maximum == 2.5


def test_an_outlier_that_chance_explains(fake_record: Make) -> None:
    # others: mean 2, stdev 0.01, and p below 0.01 / 6 two-sided: t of 4 degrees of freedom 7.5287, limit 2.0825
    others = [2.0, 2.0, 2.0 + 0.02**0.5 / 10, 2.0 - 0.02**0.5 / 10, 2.0]
    assert [len(found(fake_record([*others[:3], time_s, *others[3:]]), "outlier")) for time_s in (2.0820, 2.0830)] == [
        0,
        1,
    ]
    # sure, but not 2 % away
    assert not found(fake_record([2.0, 2.0, 2.0399, 2.0]), "outlier")
    assert found(fake_record([2.0, 2.0, 2.0401, 2.0]), "outlier")


def test_the_others_of_a_slow_first_repeat_are_judged_without_it(fake_record: Make) -> None:
    record = fake_record([9.0, 2.0, 2.0, 2.0, 2.2, 2.0])
    assert [len(found(record, code)) for code in ("slow_first_repeat", "outlier")] == [1, 1]
    assert texts(record, "outlier")[0].startswith("note: repeat 5 took 2.2 s, the others 2 s on average;")
    assert texts(fake_record([9.0, 2.0, 2.0, 2.0, 2.0, 2.0]), "outlier") == []


RISING = [2.0, 2.02, 2.04, 2.06, 2.08, 2.1]


def test_trend(fake_record: Make) -> None:
    # 101 tokens in 2 … 2.1 s: a line through the speeds falls by 2.4048 from 49.281 on average
    record = fake_record(RISING)
    assert texts(record, "trend") == [
        "doubtful: the speed falls by 4.9 % over 6 repeats: no interval would be honest; "
        "more --warmups, or see what changes: temperature, clocks, other work"
    ]
    assert record.summary is not None
    assert record.summary.generation_tokens_per_s.interval is None
    assert not found(record, "likeness")
    rising = fake_record(RISING[::-1])
    assert texts(rising, "trend")[0].startswith("doubtful: the speed rises by 4.9 %")


def test_a_trend_too_small_to_matter_is_a_note(fake_record: Make) -> None:
    record = fake_record([2.0, 2.004, 2.008, 2.012, 2.016, 2.02])
    assert texts(record, "trend")[0].startswith("note: the speed falls by 1 %")
    assert record.summary is not None
    assert record.summary.generation_tokens_per_s.interval is None


def test_a_trend_that_is_not_sure_is_a_note(fake_record: Make) -> None:
    # p is 3.1 %
    record = fake_record([2.0, 2.05, 2.03, 2.1, 2.06, 2.13])
    (finding,) = found(record, "trend")
    assert finding.severity is Severity.NOTE


def test_no_trend(fake_record: Make) -> None:
    assert not found(fake_record([2.0, 2.06, 2.0, 2.1, 2.02, 2.05]), "trend")
    assert not found(fake_record(RISING[:5]), "trend")  # too few to tell
    assert not found(fake_record([2.0 + 1e-7 * step for step in range(6)]), "trend")  # rounding


def test_likeness(fake_record: Make) -> None:
    wave = [2.0, 2.03, 2.05, 2.05, 2.03, 2.0, 2.0, 2.03, 2.05, 2.05, 2.03, 2.0]
    record = fake_record(wave)
    (line,) = texts(record, "likeness")
    assert line.startswith("note: repeats are like their neighbours (by chance in ")
    assert line.endswith(
        " % of runs): no interval would be honest; --processes 3: fresh processes don't depend on each other"
    )
    assert not found(record, "trend")
    assert record.summary is not None
    assert record.summary.generation_tokens_per_s.interval is None
    shuffled = [wave[index] for index in (0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11)]
    assert not found(fake_record(shuffled), "likeness")


def test_two_timings(fake_record: Make) -> None:
    record = fake_record([2.0, 3.0, 2.01, 2.99, 2.0, 3.0, 3.01, 2.0])
    assert texts(record, "two_timings") == [
        "doubtful: 4 repeats took 2.002 s and 4 took 3 s: the mean is neither; "
        "see what changes between them: clocks, other work, where memory lies"
    ]


def test_one_timing(fake_record: Make) -> None:
    assert not found(fake_record([2.0, 3.0, 2.01, 2.99, 2.0, 3.0, 3.01]), "two_timings")  # 7 are too few
    assert not found(fake_record([2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 2.1, 2.3]), "two_timings")  # spread evenly
    assert not found(fake_record([2.0, 2.039] * 4), "two_timings")  # too little to matter
    assert found(fake_record([2.0, 2.041] * 4), "two_timings")
    assert not found(fake_record([2.0] * 7 + [3.0]), "two_timings")  # one is an outlier


def test_two_timings_of_processes(fake_record: Make) -> None:
    assert found(fake_record([2.0] * 4, [3.0] * 4), "two_timings")


def test_few_repeats(fake_record: Make) -> None:
    record = fake_record([2.0, 2.01, 2.0, 2.01, 2.0])
    assert texts(record, "few_repeats") == ["note: 5 repeats are too few for an honest interval; --repeats 6"]
    assert record.summary is not None
    assert record.summary.generation_tokens_per_s.interval is None
    assert not found(fake_record([2.0, 2.01, 2.0, 2.01, 2.0, 2.01]), "few_repeats")


def test_few_processes(fake_record: Make) -> None:
    assert texts(fake_record([2.0] * 6, [2.1] * 6), "few_repeats") == [
        "note: 2 processes are too few for an honest interval; --processes 3"
    ]
    record = fake_record([2.0], [2.1], [2.05])
    assert not found(record, "few_repeats")
    assert record.summary is not None
    interval = record.summary.generation_tokens_per_s.interval
    assert interval is not None
    assert interval.over == "processes"


def test_wide_interval(fake_record: Make) -> None:
    # ±5 % of the mean is 2.5706 × stdev / sqrt(6): a stdev of 4.764 %
    def of_spread(share: float) -> Record:
        speeds = [50 * (1 + share * (5 / 6) ** 0.5 * sign) for sign in (1, -1, -1, 1, 1, -1)]
        return fake_record([101 / speed for speed in speeds])

    assert texts(of_spread(0.0478), "wide_interval") == [
        "doubtful: the speed is known to ±5 % only; --precision 1%, on a machine that does nothing else"
    ]
    assert not of_spread(0.0475).findings


def test_wide_spread_without_an_interval(fake_record: Make) -> None:
    # 101 tokens: 50.5 and 45.64 tokens/s are 10.1 % of their mean apart
    assert texts(fake_record([2.0, 2.0, 2.213]), "wide_spread") == []
    assert texts(fake_record([2.0, 2.213]), "wide_spread") == [
        "doubtful: the speeds of the repeats go from 45.64 to 50.5 tokens/s; "
        "--precision 1%, on a machine that does nothing else"
    ]
    assert not found(fake_record([2.0, 2.21]), "wide_spread")


def test_precision_is_reached(fake_record: Make) -> None:
    protocol = {"repeats": 6, "max_repeats": 8, "precision": 0.01}
    record = fake_record([2.0, 2.01, 1.99, 2.0, 2.01, 1.99, 2.0, 2.01], protocol=protocol)
    assert len(record.samples) == 6
    assert record.findings == ()
    assert record.summary is not None
    interval = record.summary.generation_tokens_per_s.interval
    assert interval is not None
    assert interval.method == "student_t_sequential"


def test_precision_is_not_reached(fake_record: Make) -> None:
    protocol = {"repeats": 6, "max_repeats": 8, "precision": 0.001}
    record = fake_record([2.0, 2.01, 1.99, 2.0, 2.01, 1.99, 2.0, 2.01], protocol=protocol)
    assert len(record.samples) == 8
    (line,) = texts(record, "precision_not_reached")
    assert line == (
        "doubtful: ±0.1 % was asked for; after 8 repeats it is ±0.38 %; "
        "--max_repeats or --max_seconds higher, or --precision wider"
    )


def test_precision_needs_an_interval(fake_record: Make) -> None:
    protocol = {"repeats": 6, "max_repeats": 6, "precision": 0.05}
    assert texts(fake_record(RISING, protocol=protocol), "precision_not_reached")[0].startswith(
        "doubtful: ±5 % was asked for; after 6 repeats no interval is there;"
    )


def test_repeats_end_when_the_time_is_spent(fake_record: Make) -> None:
    # 2 s each: the sixth ends at 12 s, the ninth at 18 s
    protocol = {"repeats": 6, "max_repeats": 30, "precision": 0.001, "max_seconds": 17.0}
    record = fake_record([2.0, 2.01, 1.99] * 10, protocol=protocol)
    assert len(record.samples) == 9
    short = {**protocol, "max_seconds": 1.0}
    assert len(fake_record([2.0, 2.01, 1.99] * 10, protocol=short).samples) == 6


def test_dependent_part(fake_record: Make) -> None:
    # the same request times; the first token comes ever later, the others ever faster
    steps = {number: (0.5 + 0.1 * number, 0.015 - 0.001 * number) for number in range(1, 7)}
    record = fake_record(protocol={"repeats": 6}, requests={0: (1.0, 0.01)} | steps)
    assert texts(record, "dependent_part") == [
        "note: the time to first token has a trend or depends on the request before: "
        "no interval would be honest; more --repeats",
        "note: the decode rate has a trend or depends on the request before: "
        "no interval would be honest; more --repeats",
    ]
    assert record.verdict is Verdict.VALID


def test_one_token_has_no_decode_rate(fake_record: Make) -> None:
    record = fake_record([2.0] * 6, workload={"generate_length": 1})
    assert record.findings == ()
    assert record.summary is not None
    assert record.summary.decode_tokens_per_s is None


def test_predicted(fake_record: Make) -> None:
    record = fake_record(protocol={"repeats": 6, "quick": True})
    assert texts(record, "predicted") == [
        "note: predicted from windows at the start and the end of the output; leave --quick out to measure all of it"
    ]
    assert record.verdict is Verdict.VALID


def test_a_host_changes_its_pace(fake_record: Make) -> None:
    requests = {number: (0.1, 0.01 + 0.0001 * (number // 2 % 2)) for number in range(14)}  # start, end, start, ...
    quick = fake_record(protocol={"repeats": 6, "quick": True}, requests=requests)
    work = Work(weight_bytes=1000, kv_cache_bytes_per_token=10, flops=1, attention_flops_per_token=1, prefill_flops=1)
    rates = Rates(device="test", bandwidths=((1, 1e9),), flops_per_s=1e9, matrix_dtype="bfloat16", torch="2")

    def with_device_busy(share: float) -> Record:
        profile = Profile(device_busy_share=share)
        return judge(quick.model_copy(update={"work": work, "rates": rates, "profile": profile}))

    free, bound = with_device_busy(0.9), with_device_busy(0.7)
    assert free.summary is not None
    assert free.summary.generation_tokens_per_s.interval is not None
    assert free.verdict is Verdict.VALID
    assert texts(bound, "predicted") == [
        "doubtful: predicted from windows at the start and the end of the output; the host binds this cell, and its "
        "pace may change meanwhile: no interval would be honest; leave --quick out to measure all of it"
    ]
    assert bound.summary == without_intervals(free.summary)
    assert bound.verdict is Verdict.DOUBTFUL


def test_windows_have_lengths_of_their_own(fake_record: Make) -> None:
    record = fake_record(protocol={"repeats": 6, "quick": True})
    assert [(sample.prompt_tokens, sample.output_tokens) for sample in record.samples[:2]] == [(5, 48), (58, 48)]

    def swapped(sample: Sample) -> Sample:
        return sample.model_copy(update={"window": "end" if sample.window == "start" else "start"})

    again = judge(record.model_copy(update={"samples": tuple(map(swapped, record.samples))}))
    assert texts(again, "token_counts")[0].startswith(
        "invalid: repeat 1: 5 tokens in, 48 out, 48 timed; asked for 58 in and 48 out;"
    )
    half = judge(record.model_copy(update={"samples": record.samples[:-1]}))
    assert texts(half, "missing_repeats")[0].startswith("invalid: 5.5 repeats are there in process 1, 6 were")


def test_other_choice(fake_record: Make) -> None:
    record = fake_record([2.0] * 6)
    assert record.loaded is not None
    loaded = record.loaded.model_copy(update={"reasons": ("no such kernel",)})
    assert texts(judge(record.model_copy(update={"loaded": loaded})), "other_choice") == [
        "note: no such kernel; see the reason"
    ]


def test_shared_host(fake_record: Make) -> None:
    record = fake_record([2.0] * 6)

    def beside(workers: int, cores: int) -> list[str]:
        share = Share(workers_beside=workers, cores=cores)
        return texts(judge(record.model_copy(update={"share": share})), "shared_host")

    rest = "they share memory, power and cooling; measure without --parallel to be sure"
    assert beside(2, 4) == [f"note: ran beside 2 other workers, bound to 4 cores; {rest}"]
    assert beside(1, 3) == [f"doubtful: ran beside 1 other workers, bound to 3 cores; {rest}"]
    assert beside(1, 0) == [f"doubtful: ran beside 1 other workers, not bound to cores of its own; {rest}"]
    assert beside(0, 0) == []
    assert not found(record, "shared_host")
