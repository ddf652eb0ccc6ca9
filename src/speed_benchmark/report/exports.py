"""Rows of figures as data for other programs: CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence

from speed_benchmark.record.base import Frozen
from speed_benchmark.report.rows import Row

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Sequence[Frozen]) -> str:
    """A line of the fields' names and one line a row, as RFC 4180 has it; lists are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    records = _records(rows)
    writer.writerow(records[0] if records else ())
    for record in records:
        writer.writerow([_cell(value) for value in record.values()])
    return text.getvalue()


def to_json(rows: Sequence[Frozen]) -> str:
    """An array of one object a row."""
    return json.dumps(_records(rows), indent=1, ensure_ascii=False) + "\n"


def _records(rows: Sequence[Frozen]) -> list[dict[str, object]]:
    """Name -> value of each row, all with the same names: an option of an engine that only some have is None else."""
    records = [row.values if isinstance(row, Row) else row.model_dump(mode="json") for row in rows]
    names = dict.fromkeys(name for record in records for name in record)
    return [{name: record.get(name) for name in names} for record in records]


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
