"""What records of other machines say of an engine's overhead: `priors.toml` beside its settings class.

`python -m benchmarks.priors` writes these files, and `priors.toml` beside this module, which holds what is alike for
all engines: how far hosts lie apart, and how far a figure lies from the model that its constants make.
"""

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speed_benchmark.engines.settings import Settings

FILE_NAME = "priors.toml"


@dataclass(frozen=True)
class Constant:
    """A positive constant as records show it: its middle, and the standard deviation of its logarithm."""

    value: float
    spread: float


Kinds = Mapping[str, Mapping[str, Constant]]
"""Kind -> field of `Overhead` -> what is known of it."""


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of logarithms.

    Of the pace of a host, of that of one kind on a host from what the host is for others, and of each figure that is
    measured from what its constants make.
    """

    host: float
    kind: float
    prefill: float
    decode: float
    device: float
    load: float
    first: float


def of(settings: "type[Settings]") -> Kinds:
    """What is known of the engine with these `settings`; empty for one without such a file."""
    return {
        kind: {field: Constant(*pair) for field, pair in fields.items() if isinstance(pair, list)}
        for kind, fields in _content(file_of(settings)).items()
    }


def file_of(settings: "type[Settings]") -> Path:
    """Where an engine keeps its priors."""
    return Path(str(sys.modules[settings.__module__].__file__)).with_name(FILE_NAME)


def spreads() -> Spreads:
    """What is alike for all engines."""
    return Spreads(**_content(Path(__file__).with_name(FILE_NAME)))


@cache
def _content(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text()) if file.exists() else {}
