"""One engine's answer held against another's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.judge.agreement import agreement
from speed_benchmark.record.record import Agreement, Checkpoint, Outcome, Record, Sampling

Make = Callable[..., Record]
WEIGHTS = Checkpoint(source="local", weights_digest="sha256:1")


@pytest.fixture
def answer(fake_record: Make) -> Callable[..., Record]:
    """A record of greedy output by the weights WEIGHTS, of an engine, with first ids and other fields as given."""
    base = fake_record([2.0] * 3)

    def make(engine: str, *ids: int, **fields: Any) -> Record:
        samples = tuple(sample.model_copy(update={"first_token_ids": ids}) for sample in base.samples)
        cell = replace(base.cell, settings=EngineSettings(engine=engine))
        known = {"cell": cell, "samples": samples, "checkpoint": WEIGHTS, "record_id": engine}
        return base.model_copy(update=known | fields)

    return make


@pytest.mark.parametrize(
    ("ids", "other_ids", "compared", "agreed"),
    [
        ((1, 2, 3), (1, 2, 3), 3, 3),
        ((1, 2, 3), (1, 9, 3), 3, 1),
        ((1, 2, 3), (9, 2, 3), 3, 0),
        ((1, 2, 3), (1, 2), 2, 2),
    ],
)
def test_counts_what_agrees_before_the_first_difference(
    answer: Make, ids: tuple[int, ...], other_ids: tuple[int, ...], compared: int, agreed: int
) -> None:
    expected = Agreement(engine="vllm", record_id="vllm", compared=compared, agreed=agreed)
    assert agreement(answer("transformers", *ids), [answer("vllm", *other_ids)]) == expected


def test_the_newest_of_another_engine_counts(answer: Make) -> None:
    others = [
        answer("vllm", 1, 2, record_id="new", created_at="2026-01-03T00:00:00+00:00"),
        answer("vllm", 9, 9, record_id="old"),
        answer("transformers", 9, 9, record_id="own", created_at="2026-01-04T00:00:00+00:00"),
    ]
    found = agreement(answer("transformers", 1, 2), others)
    assert found
    assert (found.record_id, found.agreed) == ("new", 2)


def test_other_questions_are_not_compared(answer: Make) -> None:
    record = answer("transformers", 1, 2)
    workload, loaded = record.cell.workload, record.loaded
    assert loaded
    longer = replace(
        record.cell,
        workload=replace(workload, context_length=workload.context_length + 1),
        settings=EngineSettings(engine="vllm"),
    )
    others = [
        answer("vllm", 1, 2, checkpoint=WEIGHTS.model_copy(update={"weights_digest": "sha256:2"})),
        answer("vllm", 1, 2, loaded=loaded.model_copy(update={"dtype": "float32"})),
        answer("vllm", 1, 2, loaded=None),
        answer("vllm", 1, 2, sampling=Sampling(repetition_penalty=1.1)),
        answer("vllm", 1, 2, prompt="another"),
        answer("vllm", 1, 2, outcome=Outcome.CRASHED),
        answer("vllm", 1, 2, samples=()),
        answer("vllm"),
        answer("vllm", 1, 2, cell=longer),
    ]
    assert agreement(record, others) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"checkpoint": WEIGHTS.model_copy(update={"source": "synthetic"})},
        {"sampling": Sampling(temperature=0.7)},
        {"checkpoint": WEIGHTS.model_copy(update={"weights_digest": None})},
    ],
)
def test_answers_that_chance_or_rounding_chose_are_not_compared(answer: Make, fields: dict[str, Any]) -> None:
    assert agreement(answer("transformers", 1, **fields), [answer("vllm", 1, **fields)]) is None
