"""What a gate decides of the cells of a baseline: each one, or the exit status says so."""

from dataclasses import dataclass
from pathlib import Path

from speed_benchmark.report.compare import Comparison, Comparisons, Measured

PASSED, REGRESSED, UNDECIDED = 0, 1, 3


@dataclass(frozen=True)
class Gate:
    """What a gate was asked: the loss of speed that is let pass (0.03: 3 %), and the folders of both sides."""

    max_regression: float
    baseline: Path
    new: Path


@dataclass(frozen=True)
class Decision:
    """Of how many cells of a baseline which regressed, are missing, or can't be decided.

    `losses` are those of the undecided ones that seem to have lost more than is let pass.
    """

    count: int
    regressed: tuple[Comparison, ...]
    missing: tuple[Measured, ...]
    undecided: tuple[Comparison, ...]
    losses: tuple[Comparison, ...]

    @property
    def status(self) -> int:
        """The exit status."""
        if self.regressed or self.missing:
            return REGRESSED
        return UNDECIDED if self.undecided else PASSED


def decide(compared: Comparisons, max_regression: float) -> Decision:
    """What a gate that lets a loss of `max_regression` pass (0.03: 3 %) says."""
    undecided = tuple(cell for cell in compared.cells if not cell.is_decided(max_regression))
    return Decision(
        count=len(compared.cells) + len(compared.only_before),
        regressed=tuple(cell for cell in compared.cells if cell.regressed(max_regression)),
        missing=compared.only_before,
        undecided=undecided,
        losses=tuple(cell for cell in undecided if cell.ratio and cell.ratio.value < 1 - max_regression),
    )
