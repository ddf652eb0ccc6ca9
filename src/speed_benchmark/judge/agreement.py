"""Whether two engines give the same answer: correctness beside speed."""

from collections.abc import Iterable
from itertools import takewhile

from speed_benchmark.record.record import Agreement, Outcome, Record


def agreement(record: Record, others: Iterable[Record]) -> Agreement | None:
    """`record` held against the newest of `others` that another engine made of the same question; None without one.

    Only greedy answers of real weights can be compared: made-up ones leave every choice of a token to rounding.
    """
    question = _question(record)
    if question is None:
        return None
    engine = record.cell.settings.engine
    partners = [other for other in others if other.cell.settings.engine != engine and _question(other) == question]
    partner = max(partners, key=lambda other: other.created_at, default=None)
    if partner is None:
        return None
    pairs = list(zip(record.samples[0].first_token_ids, partner.samples[0].first_token_ids, strict=False))
    return Agreement(
        engine=partner.cell.settings.engine,
        record_id=partner.record_id,
        compared=len(pairs),
        agreed=sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)),
    )


def _question(record: Record) -> tuple[object, ...] | None:
    """What must be alike for two answers to be comparable; None where the answer is not one that can be."""
    checkpoint, loaded, sampling = record.checkpoint, record.loaded, record.sampling
    if not (checkpoint and checkpoint.weights_digest and checkpoint.source != "synthetic" and loaded):
        return None
    if record.outcome is not Outcome.OK or sampling is None or sampling.temperature > 0:
        return None
    if not record.samples or not record.samples[0].first_token_ids:
        return None
    workload = record.cell.workload
    return (
        *(checkpoint.weights_digest, loaded.quantization, loaded.dtype, loaded.rope, sampling),
        *(record.prompt, workload.context_length, workload.seed),
    )
