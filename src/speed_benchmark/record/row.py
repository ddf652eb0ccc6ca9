"""Rows of CSV files as text."""

import csv
import io
import json
from collections.abc import Mapping

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_cell(value: object) -> object:
    """`value` as a cell that no spreadsheet runs; a list is JSON."""
    if isinstance(value, list | tuple):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def csv_text(row: Mapping[str, object]) -> str:
    """A line of the columns' names, and one of their values."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(row)
    writer.writerow(map(csv_cell, row.values()))
    return text.getvalue()
