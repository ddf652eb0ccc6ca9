"""Whether two engines give the same answer: correctness beside speed."""

from dataclasses import dataclass
from itertools import takewhile

from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Agreement, Record

_Question = tuple[object, ...]


@dataclass(frozen=True)
class _Answer:
    """What two answers are compared by."""

    record_id: str
    created_at: str
    first_token_ids: tuple[int, ...]


class Answers:
    """An index of answers that can be compared: of each question and engine the newest.

    Only greedy answers of real weights can be compared: made-up ones leave every choice of a token to rounding. Of a
    batch the first sequence counts.
    """

    def __init__(self) -> None:
        self._answers: dict[_Question, dict[str, _Answer]] = {}

    def add(self, record: Record) -> None:
        """Take in the answer of `record`, if it can be compared."""
        question = _question(record)
        if question is None:
            return
        answers, engine = self._answers.setdefault(question, {}), record.cell.settings.engine
        if engine not in answers or record.created_at > answers[engine].created_at:
            answers[engine] = _Answer(record.record_id, record.created_at, _first_token_ids(record))

    def agreement(self, record: Record) -> Agreement | None:
        """`record` against the newest answer of another engine to the same question; None without one."""
        question = _question(record)
        answers = self._answers.get(question, {}) if question else {}
        others = {engine: answer for engine, answer in answers.items() if engine != record.cell.settings.engine}
        if not others:
            return None
        engine, partner = max(others.items(), key=lambda item: item[1].created_at)
        pairs = list(zip(_first_token_ids(record), partner.first_token_ids, strict=False))
        return Agreement(
            engine=engine,
            record_id=partner.record_id,
            compared=len(pairs),
            agreed=sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)),
        )


def _first_token_ids(record: Record) -> tuple[int, ...]:
    """The first output ids of the first sequence of the first sample; () where there is none."""
    sequences = record.samples[0].sequences if record.samples else ()
    return sequences[0].first_token_ids if sequences else ()


def _question(record: Record) -> _Question | None:
    """What must be alike for two answers to be comparable; None where the answer is not one that can be."""
    checkpoint, loaded, sampling = record.checkpoint, record.loaded, record.sampling
    if not (checkpoint and checkpoint.weights_digest and checkpoint.source != "synthetic" and loaded):
        return None
    if record.outcome is not Outcome.OK or sampling is None or sampling.temperature > 0:
        return None
    if not _first_token_ids(record):
        return None
    workload = record.cell.workload
    return (
        *(checkpoint.weights_digest, loaded.quantization, loaded.dtype, loaded.rope, sampling),
        *(record.prompt, workload.context_length, workload.batch_size, workload.seed),
    )
