"""How a sweep treats its cells."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from speed_benchmark.cell import Option


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a sweep does with cells that are there already, that failed, that can't fit, or that are doubtful."""

    rounds: Annotated[int, Interval(ge=1, le=1000), Option("processes per cell, interleaved over time")] = 1
    retry: Annotated[
        Literal["failed", "all"] | None,
        Option("measure again what failed, or all; else only what is missing"),
    ] = None
    parallel: Annotated[bool, Option("run side by side what has GPUs of its own")] = False
    fail_on: Annotated[
        Literal["invalid", "doubtful"],
        Option("the verdict from which on the exit status is 1"),
    ] = "invalid"
    no_skip: Annotated[bool, Option("run also what is known not to fit")] = False
