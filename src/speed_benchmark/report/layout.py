"""Tables ready to be written: the report's own, one per model and engine, input length x weight format -> speed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from speed_benchmark.engines import registry
from speed_benchmark.judge.judgement import Verdict
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.report.columns import Column, Place, distinct
from speed_benchmark.report.rows import Row, shown_columns
from speed_benchmark.report.words import SPEED_FIELDS, Language, SpeedDefinition, Words, words

SPEED = "generation_tokens_per_s"


@dataclass(frozen=True)
class Line:
    """One row of a table: the text of each column, and the record that the figures are from."""

    cells: tuple[str, ...]
    record_id: str


class Command(str):
    """A note that is a command for a shell: shown as it is, on a line of its own."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """A table ready to be written in any markup. The first `spanned` columns repeat from row to row.

    `numeric` says which columns are set right. `conditions` is what all rows share; `notes` stand below.
    The column `linked` leads to the record. `bars` are what a terminal draws under it: a label, a value and its text.
    """

    title: str
    conditions: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    spanned: int = 0
    linked: int = 0
    bars: tuple[tuple[str, float, str], ...] = ()


class Marks:
    """Reasons that are said below a table, each once, and the numbers by which its cells refer to them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, reasons: Sequence[str]) -> str:
        """The numbers of `reasons`, as they follow a cell's text."""
        return "".join(f" [{self._numbers.setdefault(one, len(self._numbers) + 1)}]" for one in reasons)

    @property
    def notes(self) -> list[str]:
        """The reasons behind their numbers."""
        return [f"[{number}] {reason}" for reason, number in self._numbers.items()]


@dataclass(frozen=True)
class Filled:
    """A column with its heading and the text of each row."""

    column: Column
    heading: str
    texts: tuple[str, ...]


def fill(columns: Sequence[Column], rows: Sequence[Mapping[str, object]], said: Words) -> list[Filled]:
    """The texts of `columns`, as far as any row has one."""
    filled = [Filled(one, one.heading(said), tuple(one.text(row, said) for row in rows)) for one in columns]
    return _told(filled)


def table(filled: Sequence[Filled], record_ids: Sequence[str], linked: str, **rest: Any) -> Table:  # noqa: ANN401
    """A table of columns; the one called `linked` leads to the records, and `rest` are the table's other fields."""
    return Table(
        columns=tuple(one.heading for one in filled),
        numeric=tuple(one.column.numeric for one in filled),
        lines=tuple(
            Line(tuple(one.texts[index] for one in filled), record_id) for index, record_id in enumerate(record_ids)
        ),
        linked=[one.column.name for one in filled].index(linked),
        **rest,
    )


def tables(rows: Sequence[Row], language: Language, speed: SpeedDefinition) -> list[Table]:
    """One table per model and engine, of what is not older, in the order of `rows`."""
    return [_table(list(group), language, speed) for _, group in groupby(rows, key=lambda row: (row.model, row.engine))]


def placed(rows: Sequence[Row], place: Place, speed: Callable[[Row], str], said: Words) -> tuple[list[Filled], str]:
    """The columns that a table of `rows` has at `place`, and what its rows share, as it is said above them.

    A cell without a speed says nothing of what it ran on: it does not make a column of it.
    """
    measured = [index for index, row in enumerate(rows) if row.measured] or list(range(len(rows)))
    values = [row.values for row in rows]
    shown = [column for column in shown_columns(rows) if place in column.where]
    kept, shared = [], []
    for one in _told([_filled(column, rows, values, speed, said) for column in shown]):
        texts = [one.texts[index] for index in measured]
        if place not in one.column.varies or distinct(texts):
            kept.append(one)
        elif texts[0]:
            shared.append((one.column, texts[0]))
    shared.sort(key=lambda pair: pair[0].rank)
    return kept, said["semicolon"].join(column.sentence(text, said) for column, text in shared)


def outcome(row: Row, said: Words) -> str:
    """Why a row has no speed, in a word."""
    if row.outcome != Outcome.OK:
        return said[f"outcome.{row.outcome}"]
    return said["verdict.invalid" if row.verdict == Verdict.INVALID else "no_speed"]


def bars(rows: Sequence[Row], speed: SpeedDefinition, label: Callable[[Row], str]) -> list[tuple[str, float, str]]:
    """A bar for each row that has a speed."""
    return [
        (label(row), value, f"{value:.2f}")
        for row in rows
        if row.measured and (value := getattr(row, SPEED_FIELDS[speed])) is not None
    ]


def _told(filled: Sequence[Filled]) -> list[Filled]:
    """The columns that have something to say."""
    return [one for one in filled if any(one.texts)]


def _filled(
    column: Column,
    rows: Sequence[Row],
    values: Sequence[Mapping[str, object]],
    speed: Callable[[Row], str],
    said: Words,
) -> Filled:
    """A column of `rows`. Two say more than their field: why there is no speed, and of which memory it is."""
    if column.name == SPEED:
        return Filled(column, column.heading(said), tuple(speed(row) for row in rows))
    texts = tuple(column.text(one, said) for one in values)
    if column.name == "memory_bytes":
        memory = "gpu_memory" if any(row.gpu_count for row in rows) else "host_memory"
        used = tuple(text if row.measured else "" for row, text in zip(rows, texts, strict=True))
        return Filled(column, replace(column, label=memory).heading(said), used)
    return Filled(column, column.heading(said), texts)


def _table(rows: Sequence[Row], language: Language, speed: SpeedDefinition) -> Table:
    said = words(language)
    shown, marks = [row for row in rows if not row.older], Marks()
    filled, conditions = placed(shown, "report", lambda row: _speed(row, said, speed, marks), said)
    return table(
        filled,
        [row.record_id for row in shown],
        SPEED,
        title=f"{rows[0].model} ({registry.title(rows[0].engine)})",
        conditions=conditions,
        notes=(*marks.notes, *_counts(rows, said)),
        spanned=2,
        bars=tuple(bars(shown, speed, _label)),
    )


def _label(row: Row) -> str:
    return f"{row.length} {row.quantization}"


def _counts(rows: Sequence[Row], said: Words) -> list[str]:
    """How many records are pooled in the table, and how many are left out of it."""
    pooled = sum(len(row.record_ids) for row in rows if not row.older and len(row.record_ids) > 1)
    older = sum(len(row.record_ids) for row in rows if row.older)
    found = [said["pooled"].format(count=pooled)] if pooled else []
    if older:
        found.append(said["older_one"] if older == 1 else said["older"].format(count=older))
    return found


def _speed(row: Row, said: Words, speed: SpeedDefinition, marks: Marks) -> str:
    """The speed, or the outcome of a cell without one, and the numbers of the reasons to doubt it."""
    value = getattr(row, SPEED_FIELDS[speed])
    text = f"{value:.2f}" if row.measured else outcome(row, said)
    if row.measured and row.verdict == Verdict.DOUBTFUL:
        text += f" {said['verdict.doubtful']}"
    return text + marks.of(row.reasons)
