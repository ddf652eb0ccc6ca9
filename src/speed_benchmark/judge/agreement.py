"""Whether two engines give the same answer: correctness beside speed."""

from dataclasses import dataclass
from itertools import takewhile

from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Agreement, Record


@dataclass(frozen=True)
class Answer:
    """What two answers are compared by; those to one `question` can be."""

    question: tuple[object, ...]
    engine: str
    record_id: str
    created_at: str
    first_token_ids: tuple[int, ...]


class Answers:
    """An index of answers that can be compared: of each question and engine the newest.

    Only greedy answers of real weights can be compared: made-up ones leave every choice of a token to rounding. Of a
    batch the first sequence counts.
    """

    def __init__(self) -> None:
        self._answers: dict[tuple[object, ...], dict[str, Answer]] = {}

    def add(self, answer: Answer | None) -> None:
        """Take in an answer that can be compared."""
        if answer is None:
            return
        answers = self._answers.setdefault(answer.question, {})
        if answer.engine not in answers or answer.created_at > answers[answer.engine].created_at:
            answers[answer.engine] = answer

    def agreement(self, record: Record) -> Agreement | None:
        """`record` against the newest answer of another engine to the same question; None without one."""
        own = answer(record)
        answers = self._answers.get(own.question, {}).values() if own else ()
        others = [one for one in answers if own and one.engine != own.engine]
        if own is None or not others:
            return None
        partner = max(others, key=lambda one: one.created_at)
        pairs = list(zip(own.first_token_ids, partner.first_token_ids, strict=False))
        return Agreement(
            engine=partner.engine,
            record_id=partner.record_id,
            compared=len(pairs),
            agreed=sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)),
        )


def answer(record: Record) -> Answer | None:
    """The answer of `record`; None where it is not one that can be compared."""
    question, first_token_ids = _question(record), _first_token_ids(record)
    if question is None or not first_token_ids:
        return None
    engine = record.cell.settings.engine
    return Answer(question, engine, record.record_id, record.created_at, first_token_ids)


def _first_token_ids(record: Record) -> tuple[int, ...]:
    """The first output ids of the first sequence of the first sample; () where there is none."""
    sequences = record.samples[0].sequences if record.samples else ()
    return sequences[0].first_token_ids if sequences else ()


def _question(record: Record) -> tuple[object, ...] | None:
    """What must be alike for two answers to be comparable; None where the answer is not one that can be."""
    checkpoint, loaded, sampling = record.checkpoint, record.loaded, record.sampling
    if not (checkpoint and checkpoint.weights_digest and checkpoint.source != "synthetic" and loaded):
        return None
    if record.outcome is not Outcome.OK or sampling is None or sampling.temperature > 0:
        return None
    workload = record.cell.workload
    return (
        *(checkpoint.weights_digest, loaded.quantization, loaded.dtype, loaded.rope, sampling),
        *(record.prompt, workload.context_length, workload.batch_size, workload.seed),
    )
