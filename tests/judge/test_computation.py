"""The rules about what the engine computed: each speaks of one record, and passes a near miss."""

from dataclasses import replace
from typing import Literal

import pytest

from speed_benchmark.record.record import Agreement
from speed_benchmark.record.sample import Audit
from tests.judge.judging import Make, again, codes, said

Dtype = Literal["auto", "float16"]


def test_weight_format(fake_record: Make) -> None:
    found = fake_record([2.0] * 6, quantization="GPTQ-Int4")
    assert said(found, "weight_format") == [("invalid", {"promised": "GPTQ-Int4", "loaded": "BF16"})]
    assert not codes(fake_record([2.0] * 6, quantization="BF16"))


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
    before = fake_record([2.0] * 6, quantization="BF16")
    record = before.record
    assert record.checkpoint is not None
    assert record.loaded is not None
    found = again(
        before,
        cell=replace(record.cell, settings=replace(record.cell.settings, dtype=dtype)),
        checkpoint=record.checkpoint.model_copy(update={"quantization": promised}),
        loaded=record.loaded.model_copy(update={"quantization": holds}),
    )
    assert bool(said(found, "weight_format")) is wrong


@pytest.mark.parametrize(("promised", "holds", "unpacked"), [("FP8", "BF16", True), ("FP8", "W8A16", False)])
def test_weights_that_the_engine_says_it_unpacked_are_doubtful(
    fake_record: Make, promised: str, holds: str, unpacked: bool
) -> None:
    before = fake_record([2.0] * 6, quantization="BF16")
    record = before.record
    assert record.checkpoint is not None
    assert record.loaded is not None
    found = again(
        before,
        checkpoint=record.checkpoint.model_copy(update={"quantization": promised}),
        loaded=record.loaded.model_copy(update={"quantization": holds, "reasons": ("no kernel for it",)}),
    )
    values = {"promised": promised, "loaded": holds}
    assert said(found, "unpacked_weights") == ([("doubtful", values)] if unpacked else [])
    assert said(found, "weight_format") == ([] if unpacked else [("invalid", values)])


@pytest.mark.parametrize("promised", ["hqq", "FP8+W4A16"])
def test_a_format_that_is_not_known_is_not_judged(fake_record: Make, promised: str) -> None:
    before = fake_record([2.0] * 6, quantization="BF16")
    assert before.record.checkpoint is not None
    checkpoint = before.record.checkpoint.model_copy(update={"quantization": promised})
    assert not said(again(before, checkpoint=checkpoint), "weight_format")


def test_cached_prompt(fake_record: Make) -> None:
    found = fake_record([2.0] * 6, faults=[{"at": "generate", "action": "cached_prompt", "request": 2}])
    assert said(found, "cached_prompt") == [("invalid", {"repeat": 2, "tokens": 16})]
    assert not codes(fake_record([2.0] * 6, faults=[{"at": "generate", "action": "cached_prompt", "request": 0}]))


def test_prefix_caching(fake_record: Make) -> None:
    assert said(fake_record([2.0] * 6, prefix_caching=True), "prefix_caching") == [("invalid", {})]


def test_faster_when_repeated(fake_record: Make) -> None:
    found = fake_record([2.0] * 6, protocol={"audit": True}, prefill_s=0.5, repeated_prefill_s=0.4, requests={})
    assert found.record.audit == Audit(repeated_s=(0.4,) * 5, distinct_s=(0.5,) * 5)
    assert said(found, "faster_when_repeated") == [
        ("invalid", {"repeated_s": 0.4, "distinct_s": 0.5, "share": pytest.approx(0.2)})
    ]


@pytest.mark.parametrize(
    ("repeated_s", "distinct_s", "found"),
    [
        # exactly 10 % is let pass, and so is one repeated prompt that took as long as a new one
        ((0.9,) * 5, (1.0,) * 5, False),
        ((0.899,) * 5, (1.0,) * 5, True),
        ((0.5, 0.5, 0.5, 0.5, 1.0), (1.0,) * 5, False),
        ((1.0,) * 5, (0.5,) * 5, False),
        ((0.019,) * 5, (0.02,) * 5, False),
    ],
)
def test_as_fast_when_repeated(
    fake_record: Make, repeated_s: tuple[float, ...], distinct_s: tuple[float, ...], found: bool
) -> None:
    record = fake_record([2.0] * 6, protocol={"audit": True}, prefill_s=0.5, requests={})
    assert record.record.audit == Audit(repeated_s=(0.5,) * 5, distinct_s=(0.5,) * 5)
    assert not said(record, "faster_when_repeated")
    audited = again(record, audit=Audit(repeated_s=repeated_s, distinct_s=distinct_s))
    assert bool(said(audited, "faster_when_repeated")) is found


def test_not_finite(fake_record: Make) -> None:
    assert said(fake_record([2.0] * 6, finite_logits=False), "not_finite") == [("invalid", {})]
    assert not codes(fake_record([2.0] * 6, finite_logits=True))


@pytest.mark.parametrize(("compared", "agreed", "count"), [(16, 0, 1), (16, 1, 0), (16, 16, 0), (0, 0, 0)])
def test_other_answer(fake_record: Make, compared: int, agreed: int, count: int) -> None:
    agreement = Agreement(engine="other", record_id="", compared=compared, agreed=agreed)
    found = again(fake_record([2.0] * 6), agreement=agreement)
    assert said(found, "other_answer") == count * [("doubtful", {"engine": "other"})]
