"""One engine's answer held against another's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.judge.agreement import Answers
from speed_benchmark.judge.agreement import answer as made
from speed_benchmark.record.engine import Sampling
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Agreement, Checkpoint, Record
from speed_benchmark.record.sample import Sample
from tests.judge.judging import Make

Answer = Callable[..., Record]
WEIGHTS = Checkpoint(source="local", weights_digest="sha256:1")


def with_ids(sample: Sample, *ids: tuple[int, ...]) -> Sample:
    """`sample` of so many sequences as there are `ids`, which are their first."""
    sequences = tuple(sample.sequences[0].model_copy(update={"first_token_ids": one}) for one in ids)
    return sample.model_copy(update={"sequences": sequences})


@pytest.fixture
def answer(fake_record: Make) -> Answer:
    """A record of greedy output by the weights WEIGHTS, of an engine, with first ids and other fields as given."""
    base = fake_record([2.0] * 3).record

    def make(engine: str, *ids: int, **fields: Any) -> Record:
        samples = tuple(with_ids(sample, ids) for sample in base.samples)
        cell = replace(base.cell, settings=EngineSettings(engine=engine))
        known = {"cell": cell, "samples": samples, "checkpoint": WEIGHTS, "record_id": engine}
        return base.model_copy(update=known | fields)

    return make


def agreement(record: Record, *others: Record) -> Agreement | None:
    """What an index of `others` says of `record`."""
    answers = Answers()
    for other in others:
        answers.add(made(other))
    return answers.agreement(record)


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
    answer: Answer, ids: tuple[int, ...], other_ids: tuple[int, ...], compared: int, agreed: int
) -> None:
    expected = Agreement(engine="b", record_id="b", compared=compared, agreed=agreed)
    assert agreement(answer("a", *ids), answer("b", *other_ids)) == expected


OLD, NEW, NEWEST = (f"2026-01-0{day}T00:00:00+00:00" for day in (1, 3, 4))


def test_the_newest_of_another_engine_counts(answer: Answer) -> None:
    others = [
        answer("b", 9, 9, record_id="old", created_at=OLD),
        answer("b", 1, 2, record_id="new", created_at=NEW),
        answer("c", 9, 9, record_id="older", created_at=OLD),
        answer("a", 9, 9, record_id="own", created_at=NEWEST),
    ]
    for order in (others, others[::-1]):
        found = agreement(answer("a", 1, 2), *order)
        assert found
        assert (found.engine, found.record_id, found.agreed) == ("b", "new", 2)


def test_each_engine_is_held_against_the_other(answer: Answer) -> None:
    """A record is compared with what is in the index, whether it is there itself or not."""
    answers = Answers()
    one, other = answer("a", 1, 2), answer("b", 1, 3)
    assert answers.agreement(one) is None
    answers.add(made(one))
    assert answers.agreement(one) is None
    answers.add(made(other))
    assert answers.agreement(one) == Agreement(engine="b", record_id="b", compared=2, agreed=1)
    assert answers.agreement(other) == Agreement(engine="a", record_id="a", compared=2, agreed=1)


def test_other_questions_are_not_compared(answer: Answer) -> None:
    record = answer("a", 1, 2)
    workload, loaded = record.cell.workload, record.loaded
    assert loaded

    def asked(**changed: Any) -> dict[str, Any]:
        cell = replace(record.cell, workload=replace(workload, **changed), settings=EngineSettings(engine="b"))
        return {"cell": cell}

    others = [
        answer("b", 1, 2, checkpoint=WEIGHTS.model_copy(update={"weights_digest": "sha256:2"})),
        answer("b", 1, 2, loaded=loaded.model_copy(update={"dtype": "float32"})),
        answer("b", 1, 2, loaded=None),
        answer("b", 1, 2, sampling=Sampling(repetition_penalty=1.1)),
        answer("b", 1, 2, prompt="another"),
        answer("b", 1, 2, outcome=Outcome.CRASHED),
        answer("b", 1, 2, samples=()),
        answer("b"),
        answer("b", 1, 2, **asked(context_length=workload.context_length + 1)),
        answer("b", 1, 2, **asked(batch_size=2)),
        answer("b", 1, 2, **asked(seed=1)),
    ]
    assert agreement(record, *others) is None
    assert agreement(record, *others, answer("b", 1, 2, **asked(generate_length=1)))


def test_of_a_batch_the_first_sequence_is_compared(answer: Answer) -> None:
    base = answer("a", 1).samples[0]
    one = answer("a", samples=(with_ids(base, (1, 2), (7, 7)),))
    other = answer("b", samples=(with_ids(base, (1, 2), (8, 8)), with_ids(base, (9, 9), (9, 9))))
    assert agreement(one, other) == Agreement(engine="b", record_id="b", compared=2, agreed=2)


@pytest.mark.parametrize(
    "fields",
    [
        {"checkpoint": WEIGHTS.model_copy(update={"source": "synthetic"})},
        {"sampling": Sampling(temperature=0.7)},
        {"checkpoint": WEIGHTS.model_copy(update={"weights_digest": None})},
    ],
)
def test_answers_that_chance_or_rounding_chose_are_not_compared(answer: Answer, fields: dict[str, Any]) -> None:
    assert agreement(answer("a", 1, **fields), answer("b", 1, **fields)) is None


def test_no_record_is_kept(answer: Answer) -> None:
    answers = Answers()
    answers.add(made(answer("b", 1, 2)))
    held: list[object] = [vars(answers)]
    for one in held:
        assert not isinstance(one, Record | Sample)
        if isinstance(one, dict):
            held += [*one.keys(), *one.values()]
        elif isinstance(one, tuple):
            held += one
