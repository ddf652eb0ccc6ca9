"""Published figures, which one's own can be laid beside: a table of rows, and what they were measured on."""

import csv
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from speed_benchmark.machine.cards import cards
from speed_benchmark.models import published
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes import shipped
from speed_benchmark.record import formats
from speed_benchmark.report.words import SpeedDefinition

# Each has a definition of speed of its own, by whose name it goes.
_NAMES: dict[SpeedDefinition, str] = {"qwen2.5": "qwen2.5_a100", "qwen3": "qwen3_h20"}
# Weights that differ by less may be of the same model.
SAME_WEIGHTS = 1 / 3


@dataclass(frozen=True)
class Published:
    """One published row, of batch size 1, its speed by the definition of its report; None is not published."""

    engine: str
    model: str
    context_length: int
    quantization: str
    gpu_count: int
    tokens_per_s: float | None
    memory_gib: float | None
    note: str


@dataclass(frozen=True)
class Publication:
    """A page of published figures, and on what they were measured; its speeds are by the definition of `report`.

    `card` is the GPU by its name in `machine.cards`. `software` is by published engine; `stand_ins` names for an engine
    the published one that its figures are laid beside, `titles` what that one is called. The GPUs of engines that
    `take_turns` compute one after the other.
    """

    report: SpeedDefinition
    source: str
    machine: str
    card: str
    generate_length: int
    software: dict[str, str]
    stand_ins: dict[str, str]
    titles: dict[str, str]
    take_turns: tuple[str, ...]
    rows: tuple[Published, ...]

    def matching(
        self, engine: str, model: str, context_length: int, quantization: str, gpu_count: int
    ) -> Published | None:
        """The published row of a cell: the one with as many GPUs where there are several, else the first."""
        there = self.stand_ins.get(engine, engine)
        found = self._by_cell.get((there, model, context_length, quantization), [])
        return next((row for row in found if row.gpu_count == gpu_count), found[0] if found else None)

    def bandwidth_share(self, row: Published) -> float | None:
        """The share of its GPUs' data-sheet bandwidth that a row means at least; None for a model of unknown shape.

        The bytes that a decoding step must read, weights and half of the output's cache among them, times the
        generated tokens per second of the whole request. That has the time of the prompt in it: while the answer is
        decoded, the share is larger, by little where the prompt is short.
        """
        shape = _shape(row.model, row.quantization)
        if shape is None or row.tokens_per_s is None:
            return None
        read = shape.read_bytes()
        if shape.forward:
            read += shape.kv_cache_bytes(row.context_length + self.generate_length // 2, shape.value_bytes)
        counted = self.generate_length + (row.context_length if self.report == "qwen3" else 0)
        steps_per_s = row.tokens_per_s * self.generate_length / counted
        at_once = 1 if row.engine in self.take_turns else row.gpu_count
        return read * steps_per_s / (at_once * cards()[self.card].gb_per_s * 1e9)

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str, int, str], list[Published]]:
        """The rows that have a speed."""
        cells: dict[tuple[str, str, int, str], list[Published]] = {}
        for row in self.rows:
            if row.tokens_per_s is not None:
                cells.setdefault((row.engine, row.model, row.context_length, row.quantization), []).append(row)
        return cells


@cache
def publication(report: SpeedDefinition) -> Publication:
    """The page of one report, its rows in the order of the page."""
    facts = tomllib.loads(_read(report, "toml"))
    rows = tuple(
        Published(
            engine=row["engine"],
            model=row["model"],
            context_length=int(row["context_length"]),
            quantization=row["quantization"],
            gpu_count=int(row["gpu_count"]),
            tokens_per_s=_figure(row["tokens_per_s"]),
            memory_gib=_figure(row["gpu_memory_gib"]),
            note=row["note"],
        )
        for row in csv.DictReader(_read(report, "csv").splitlines())
    )
    return Publication(report=report, rows=rows, **facts | {"take_turns": tuple(facts["take_turns"])})


def expected_weights(model: str, quantization: str, weight_bytes: int) -> int | None:
    """The bytes of weights of the published model of this name, where `weight_bytes` are not about as many; else None.

    Engines hold a little more or less than the checkpoint; the sizes of a family are a factor of two apart.
    """
    shape = _shape(model, quantization)
    expected = shape.weight_bytes() if shape else weight_bytes
    return None if abs(weight_bytes - expected) <= SAME_WEIGHTS * expected else expected


def _shape(model: str, quantization: str) -> Shape | None:
    """The shape of a model that people use, in a format in which it is published."""
    suffix = next(iter(formats.named(quantization).suffixes), "")
    known = published.lookup(model + suffix)
    return shipped.shape(known.config) if known else None


def _figure(text: str) -> float | None:
    return float(text) if text else None


def _read(report: SpeedDefinition, suffix: str) -> str:
    return (files("speed_benchmark.report") / "data" / f"{_NAMES[report]}.{suffix}").read_text(encoding="utf-8")
