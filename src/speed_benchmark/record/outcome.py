"""How a cell ended, and why."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from speed_benchmark.record.base import Frozen


class Outcome(StrEnum):
    """How a cell ended. `skipped`: not run, for it can't fit."""

    OK = "ok"
    OOM = "oom"
    SKIPPED = "skipped"
    TOO_LONG = "too_long"
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"


class Cause(Frozen):
    """Why a cell is not ok."""

    message: str = Field(description="what was said, in one line")
    kind: Literal["cannot_fit", "after_shorter"] | None = Field(
        default=None,
        description="why it was skipped: weights and cache are larger than the memory, or a shorter cell of the same "
        "load had run out of memory",
    )
    stage: str | None = Field(default=None, description="what the worker was doing")
    exit_status: int | None = Field(default=None, description="exit status of the worker")
    signal: str | None = Field(default=None, description="signal that killed the worker")
    last_lines: tuple[str, ...] = Field(default=(), description="the last lines that the worker printed")
