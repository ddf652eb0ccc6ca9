"""The report's own layout: one table per model and engine, input length x weight format -> speed and memory."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from speed_benchmark.record.record import Outcome, Verdict
from speed_benchmark.report.rows import GIB, Row, newest
from speed_benchmark.report.words import SPEED_FIELDS, WORDS, Language, SpeedDefinition

ENGINES = {"transformers": "Transformers", "vllm": "vLLM"}

# What is a column where it differs between the rows of a table, and said once above it where it does not.
_CONDITIONS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("machine", lambda row: row.machine),
    ("driver", lambda row: row.driver),
    ("software", lambda row: row.software),
    ("output", lambda row: str(row.output_tokens)),
    ("sampling", lambda row: row.sampling),
    ("attention", lambda row: row.attention),
    ("execution", lambda row: row.execution),
    ("dtype", lambda row: row.dtype),
    ("max_model_len", lambda row: str(row.max_model_len or "")),
    ("gpu_memory_utilization", lambda row: f"{row.gpu_memory_utilization or ''}"),
    ("repeats", lambda row: str(row.repeats)),
    ("warmups", lambda row: str(row.warmups)),
)
_NUMERIC = {
    *("input", "output", "gpus", "speed", "memory", "host_memory", "max_model_len", "gpu_memory_utilization"),
    *("repeats", "warmups"),
}


@dataclass(frozen=True)
class Line:
    """One row of a table: the text of each column, and the record that the figures are from."""

    cells: tuple[str, ...]
    record_id: str


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


def one_line(text: str) -> str:
    """`text` on one line, without control characters: a record of someone else's must not steer a terminal."""
    return " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in text).split())


def tables(rows: Sequence[Row], language: Language, speed: SpeedDefinition) -> list[Table]:
    """One table per model and engine, of the newest record of each cell, in the order of `rows`."""
    return [_table(list(group), language, speed) for _, group in groupby(rows, key=lambda row: (row.model, row.engine))]


def _table(rows: Sequence[Row], language: Language, speed: SpeedDefinition) -> Table:
    words = WORDS[language]
    shown, older = newest(rows)
    marks: dict[str, int] = {}  # reason -> its number below the table
    texts: dict[str, list[str]] = {
        "model": [row.model for row in shown],
        "input": [str(row.input_tokens) for row in shown],
        "quantization": [row.quantization or "-" for row in shown],
        "gpus": [str(row.gpu_count) if row.gpu_count else words["cpu"] for row in shown],
        "speed": [_speed(row, words, speed, marks) for row in shown],
    }
    memory = "memory" if any(row.gpu_count for row in shown) else "host_memory"
    texts[memory] = [f"{row.memory_bytes / GIB:.2f}" if row.measured and row.memory_bytes else "" for row in shown]
    shared: list[str] = []
    for name, value in _CONDITIONS:
        # a cell that never loaded says nothing about what it ran on: it must not make a column of it
        distinct = {value(row) for row in shown if row.measured} or {value(row) for row in shown}
        if len(distinct) > 1:
            texts[name] = [value(row) for row in shown]
        elif text := distinct.pop():
            shared.append(text if name in ("machine", "software") else f"{words[name]}{words['colon']}{text}")
    texts["note"] = [_note(row, words) for row in shown]
    kept = [name for name, column in texts.items() if any(column)]
    notes = [f"[{number}] {reason}" for reason, number in marks.items()]
    if older:
        notes.append(words["older_one"] if older == 1 else words["older"].format(count=older))
    engine = ENGINES.get(shown[0].engine, shown[0].engine)
    return Table(
        title=f"{shown[0].model} ({engine})",
        conditions="; ".join([*shared, words["batch"]]),
        columns=tuple(words[name] for name in kept),
        numeric=tuple(name in _NUMERIC for name in kept),
        lines=tuple(
            Line(cells=tuple(texts[name][index] for name in kept), record_id=row.record_id)
            for index, row in enumerate(shown)
        ),
        notes=tuple(notes),
        spanned=2,
        linked=kept.index("speed"),
        bars=tuple(
            (f"{row.input_tokens} {row.quantization}", value, f"{value:.2f}")
            for row in shown
            if row.measured and (value := getattr(row, SPEED_FIELDS[speed])) is not None
        ),
    )


def _note(row: Row, words: dict[str, str]) -> str:
    marks = {"synthetic": row.weights == "synthetic", "predicted": row.predicted}
    return words["comma"].join(words[name] for name, applies in marks.items() if applies)


def _speed(row: Row, words: dict[str, str], speed: SpeedDefinition, marks: dict[str, int]) -> str:
    """The speed, or the outcome of a cell without one, and the numbers of the reasons to doubt it."""
    value = getattr(row, SPEED_FIELDS[speed])
    text = f"{value:.2f}" if row.measured else words["no_speed" if row.outcome == Outcome.OK else row.outcome]
    if row.measured and row.verdict == Verdict.DOUBTFUL:
        text += f" {words['doubtful']}"
    numbers = [marks.setdefault(reason, len(marks) + 1) for reason in row.reasons]
    return text + "".join(f" [{number}]" for number in numbers)
