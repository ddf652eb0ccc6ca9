"""Which cells need not be run, for it is known that they can't fit."""

from collections.abc import Iterator, Sequence

from speed_benchmark.cell import Cell
from speed_benchmark.record.outcome import Cause
from speed_benchmark.run.collector import Draft


def cannot_fit(reason: str) -> Cause:
    """Weights and cache of the cell are larger than the memory."""
    return Cause(kind="cannot_fit", message=f"not run, for it can't fit: {reason}")


def after_shorter(drafts: Sequence[Draft], failed: Sequence[Cell]) -> Iterator[tuple[Draft, Cause]]:
    """Those of `drafts` that are longer than a cell of their load that ran out of memory, and what is said of them."""
    for draft in drafts:
        shorter = next((cell for cell in failed if _is_longer(draft.cell, cell)), None)
        if shorter is not None:
            asked = f"input {shorter.workload.context_length} and output {shorter.workload.generate_length}"
            message = f"not run: {asked} of the same load ran out of memory, and this is longer"
            yield draft, Cause(kind="after_shorter", message=message)


def _is_longer(cell: Cell, than: Cell) -> bool:
    """Whether a cell needs at least as many tokens at every point as another, and more in all."""
    return cell.workload.context_length >= than.workload.context_length and cell.total_tokens > than.total_tokens
