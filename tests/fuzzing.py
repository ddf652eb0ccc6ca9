"""What became of changed inputs, and where the tool raised what it must not."""

import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import speed_benchmark

PACKAGE = Path(speed_benchmark.__file__).parent


@dataclass
class Tally:
    """How many inputs went which way; of each traceback its place in the tool, how many, and an example."""

    counts: Counter[str] = field(default_factory=Counter)
    tracebacks: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, other: Self) -> None:
        """Take in what became of others."""
        self.counts += other.counts
        self.tracebacks += other.tracebacks
        self.examples |= other.examples

    def failed(self, use: str, error: Exception, example: str) -> None:
        """Note what was raised by a use of an input."""
        key = f"{use}: {type(error).__name__} at {_place(error)}"
        self.tracebacks[key] += 1
        self.examples.setdefault(key, f"{(str(error).splitlines() or [''])[0][:150]} | {example}")


def _place(error: Exception) -> str:
    """The deepest line of this tool in the traceback of `error`."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)
    ]
    return f"{Path(frames[-1].filename).relative_to(PACKAGE)}:{frames[-1].lineno}" if frames else "elsewhere"
