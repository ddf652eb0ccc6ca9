"""Published figures, which one's own can be laid beside: a table of rows, and what they were measured on."""

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from speed_benchmark.models import catalogue, checkpoint

_NAME = "qwen2.5_a100"
# Weights that differ by less may be of the same model.
SAME_WEIGHTS = 1 / 3


@dataclass(frozen=True)
class Publication:
    """Where figures were published, and on what they were measured; `software` by engine."""

    source: str
    machine: str
    generate_length: int
    software: dict[str, str]


@dataclass(frozen=True)
class Published:
    """One published row, of batch size 1; `memory_gib` is None where none is published."""

    engine: str
    model: str
    context_length: int
    quantization: str
    gpu_count: int
    tokens_per_s: float
    memory_gib: float | None
    note: str


@cache
def publication() -> Publication:
    """Of the Qwen2.5 speed benchmark page."""
    return Publication(**tomllib.loads(_read("toml")))


@cache
def published() -> tuple[Published, ...]:
    """All rows, in the order of the page."""
    return tuple(
        Published(
            engine=row["engine"],
            model=row["model"],
            context_length=int(row["context_length"]),
            quantization=row["quantization"],
            gpu_count=int(row["gpu_count"]),
            tokens_per_s=float(row["tokens_per_s"]),
            memory_gib=float(row["gpu_memory_gib"]) if row["gpu_memory_gib"] else None,
            note=row["note"],
        )
        for row in csv.DictReader(_read("csv").splitlines())
    )


def matching(engine: str, model: str, context_length: int, quantization: str, gpu_count: int) -> Published | None:
    """The published row of a cell: the one with as many GPUs where there are several, else the first."""
    found = _by_cell().get((engine, model, context_length, quantization), [])
    return next((row for row in found if row.gpu_count == gpu_count), found[0] if found else None)


def expected_weights(model: str, quantization: str, weight_bytes: int) -> int | None:
    """The bytes of weights of the published model of this name, where `weight_bytes` are not about as many; else None.

    Engines hold a little more or less than the checkpoint; the sizes of the family are a factor of two apart.
    """
    suffix = "" if quantization == "BF16" else f"-{quantization}"
    known = catalogue.lookup(model + suffix)
    expected = checkpoint.weight_bytes(known.config) if known else weight_bytes
    return None if abs(weight_bytes - expected) <= SAME_WEIGHTS * expected else expected


@cache
def _by_cell() -> dict[tuple[str, str, int, str], list[Published]]:
    cells: dict[tuple[str, str, int, str], list[Published]] = {}
    for row in published():
        cells.setdefault((row.engine, row.model, row.context_length, row.quantization), []).append(row)
    return cells


def _read(suffix: str) -> str:
    return (files("speed_benchmark.report") / "data" / f"{_NAME}.{suffix}").read_text(encoding="utf-8")
