"""Rows of figures as data for other programs: CSV and JSON."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence

from speed_benchmark.record.base import Frozen
from speed_benchmark.record.row import csv_cell
from speed_benchmark.report.rows import Row
from speed_benchmark.terminal import printable

_NOT_ASCII = re.compile(r"[\x7f-\U0010ffff]")


def to_csv(rows: Sequence[Frozen]) -> str:
    """A line of the fields' names and one line a row, as RFC 4180 has it; lists are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    records = _records(rows)
    writer.writerow(_cells(records[0]) if records else ())
    for record in records:
        writer.writerow(_cells(record.values()))
    return text.getvalue()


def to_json(rows: Sequence[Frozen]) -> str:
    """An array of one object a row."""
    return as_json(_records(rows), indent=1) + "\n"


def as_json(value: object, indent: int | None = None) -> str:
    """`value` as JSON that a terminal may show: what is not seen is escaped, which is the same to a program."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _NOT_ASCII.sub(lambda one: one[0] if one[0].isprintable() else json.dumps(one[0])[1:-1], text)


def _cells(values: Iterable[object]) -> list[object]:
    cells = map(csv_cell, values)
    return [printable(cell) if isinstance(cell, str) else cell for cell in cells]


def _records(rows: Sequence[Frozen]) -> list[dict[str, object]]:
    """Name -> value of each row, all with the same names: an option of an engine that only some have is None else."""
    records = [row.values if isinstance(row, Row) else row.model_dump(mode="json") for row in rows]
    names = dict.fromkeys(name for record in records for name in record)
    return [{name: record.get(name) for name in names} for record in records]
