"""Rows as data for other programs: CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence

from speed_benchmark.report.rows import Row

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Sequence[Row]) -> str:
    """One line a record, under the names of Row's fields; lists are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row.model_fields)
    for row in rows:
        writer.writerow([_cell(value) for value in row.model_dump(mode="json").values()])
    return text.getvalue()


def to_json(rows: Sequence[Row]) -> str:
    """An array of one object a record, under the names of Row's fields."""
    return json.dumps([row.model_dump(mode="json") for row in rows], indent=1, ensure_ascii=False) + "\n"


def _cell(value: object) -> object:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
