"""What of a sweep is there already, and what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from speed_benchmark.record.record import Outcome, Record
from speed_benchmark.record.store import Store
from speed_benchmark.run.plan import Load
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.session import Stored


def answered(loads: Sequence[Load], store: Store, policy: Policy) -> list[Stored]:
    """The records in `store` that need not be measured again, at most as many for a cell as there are rounds."""
    if policy.retry == "all":
        return []
    wanted = {cell.cell_id: policy.rounds for load in loads for cell in load.cells}
    candidates = [
        (record, path)
        for path, record in store.records()
        if isinstance(record, Record) and record.cell_id in wanted and _counts(record, policy)
    ]
    found = []
    for record, path in sorted(candidates, key=lambda stored: stored[0].outcome is not Outcome.OK):
        if wanted[record.cell_id]:
            wanted[record.cell_id] -= 1
            found.append((record, path))
    return found


def _counts(record: Record, policy: Policy) -> bool:
    """Whether a stored record answers for its cell."""
    kind = record.cause.kind if record.cause else None
    if kind == "interrupted" or (policy.no_skip and kind in ("predicted", "after_shorter")):
        return False
    return record.outcome is Outcome.OK or policy.retry != "failed"


def missing(loads: Sequence[Load], done: Mapping[str, int], rounds: int) -> Iterator[Load]:
    """What is left of `loads` until each cell has been measured `rounds` times, one round after the other.

    `done` says how often that has happened, by cell_id.
    """
    for number in range(rounds):
        for load in loads:
            left = tuple(cell for cell in load.cells if done.get(cell.cell_id, 0) <= number)
            if left:
                yield replace(load, cells=left)
