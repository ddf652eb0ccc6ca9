"""How a sweep treats its cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from speed_benchmark.cell import Option
from speed_benchmark.errors import UserError

ACCEPTABLE = ("other-machines", "other-versions")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a sweep does with cells that are there already, that failed, that can't fit, or that are doubtful."""

    rounds: Annotated[int, Interval(ge=1, le=1000), Option("processes per cell, interleaved over time")] = 1
    retry: Annotated[
        Literal["failed", "doubtful", "all"] | None,
        Option("measure again what failed, what is doubtful, or all; else only what is missing"),
    ] = None
    accept: Annotated[
        str | tuple[str, ...],
        Option(f"let stored records of {' or '.join(ACCEPTABLE)} answer too, as in merged folders"),
    ] = ()
    parallel: Annotated[bool, Option("run side by side what has GPUs of its own")] = False
    fail_on: Annotated[
        Literal["invalid", "doubtful"],
        Option("the verdict from which on the exit status is 1"),
    ] = "invalid"
    no_skip: Annotated[bool, Option("run also what is known not to fit")] = False

    def __post_init__(self) -> None:
        """Raise UserError for what can't be accepted."""
        for name in self.accepted:
            if name not in ACCEPTABLE:
                raise UserError("--accept", name, f"choose of {', '.join(ACCEPTABLE)}")

    @property
    def accepted(self) -> Sequence[str]:
        """The names given with `accept`, each by itself."""
        given = self.accept.split(",") if isinstance(self.accept, str) else self.accept
        return [name.strip().replace("_", "-") for name in given]
