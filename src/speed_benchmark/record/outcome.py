"""How a cell ended, and why."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from speed_benchmark.record.base import Frozen, Text, Whole


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


# Failures that another try would only repeat.
LASTING = (Outcome.OOM, Outcome.SKIPPED, Outcome.TOO_LONG, Outcome.UNSUPPORTED)


class Cause(Frozen):
    """Why a cell is not ok."""

    message: Text = Field(description="what was said, in one line")
    kind: Literal["cannot_fit", "after_shorter"] | None = Field(
        default=None,
        description="why it was skipped: weights and cache are larger than the memory, or a shorter cell of the same "
        "load had run out of memory",
    )
    stage: Text | None = Field(default=None, description="what the worker was doing")
    exit_status: Whole | None = Field(default=None, description="exit status of the worker")
    signal: Text | None = Field(default=None, description="signal that killed the worker")
    last_lines: tuple[Text, ...] = Field(default=(), description="the last lines that the worker printed")
