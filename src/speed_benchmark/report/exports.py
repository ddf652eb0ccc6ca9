"""Rows of figures as data for other programs: CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence

from speed_benchmark.record.record import Frozen

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Sequence[Frozen]) -> str:
    """A line of the fields' names and one line a row, as RFC 4180 has it; lists are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(type(rows[0]).model_fields if rows else ())
    for row in rows:
        writer.writerow([_cell(value) for value in row.model_dump(mode="json").values()])
    return text.getvalue()


def to_json(rows: Sequence[Frozen]) -> str:
    """An array of one object a row."""
    return json.dumps([row.model_dump(mode="json") for row in rows], indent=1, ensure_ascii=False) + "\n"


def _cell(value: object) -> object:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
