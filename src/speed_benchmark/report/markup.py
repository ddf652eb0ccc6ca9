"""Tables as text that can be pasted into a page: Markdown and reStructuredText."""

import html
import re
import unicodedata
from collections.abc import Callable, Sequence

from speed_benchmark.report.documents import Document
from speed_benchmark.report.layout import Command, Table
from speed_benchmark.terminal import one_line

# What is markup within a line of text, and what makes a list, a directive or a rule of one that begins with it.
_MARKDOWN = re.compile(r"[\\`*_{}\[\]|~#!$]|^[-+=]")
_RST = re.compile(r"[\\`*|@]|(?<![^\W_])_|_(?![^\W_])|<(?=\S)|(?<=\S)>|(?<=[\w.+-]):(?=\S)|:(?=:$)")
_RST_BLOCK = re.compile(r"(?!\[\d+\] )[^\w\s]|([a-z]|\d+|[ivxlcdm]+)[.)](\s|$)", re.IGNORECASE)


def markdown(document: Document) -> str:
    """A section with a heading for each table."""
    parts = [f"## {_markdown(document.title)}", *map(_markdown, document.intro)]
    for table in document.tables:
        rule = ["---:" if numeric else "---" for numeric in table.numeric]
        rows = [table.columns, *(line.cells for line in table.lines)]
        head, *body = ["| " + " | ".join(_markdown(cell) for cell in row) + " |" for row in rows]
        parts += [f"### {_markdown(table.title)}" if table.title else "", _markdown(table.conditions)]
        parts.append("\n".join([head, "| " + " | ".join(rule) + " |", *body]))
        parts.append(_notes(table.notes, _markdown, ""))
    return "\n\n".join(part for part in parts if part) + "\n"


def rst(document: Document) -> str:
    """A section with grid tables, whose first columns span the rows that share them."""
    heading = _rst(document.title)
    parts = [f"{heading}\n{'=' * _width(heading)}", *map(_rst, document.intro)]
    for table in document.tables:
        heading = _rst(table.title)
        parts += [heading and f"{heading}\n{'-' * _width(heading)}", _rst(table.conditions), _grid(table)]
        parts.append(_notes(table.notes, _rst, "  ::\n\n"))
    return "\n\n".join(part for part in parts if part) + "\n"


def _notes(notes: Sequence[str], escaped: Callable[[str], str], block: str) -> str:
    """A list of `notes`; a command is an indented block of code, begun by `block`, in the item above it."""
    lines = [f"\n{block}      {note}\n\n" if isinstance(note, Command) else f"- {escaped(note)}\n" for note in notes]
    return "".join(lines).rstrip("\n")


def _grid(table: Table) -> str:
    rows = [[_rst(cell) for cell in row] for row in (table.columns, *(line.cells for line in table.lines))]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(table.columns))]
    head, *body = rows
    lines = [_rule(widths, "-"), _row(head, widths), _rule(widths, "=")]
    for index, row in enumerate(body):
        same = _shared(row, body[index - 1], table.spanned) if index else 0
        if index:
            lines.append(_rule(widths, "-", open_columns=same))
        lines.append(_row([""] * same + row[same:], widths))
    return "\n".join([*lines, _rule(widths, "-")])


def _shared(row: Sequence[str], above: Sequence[str], spanned: int) -> int:
    """How many of the leading columns go on from the row above."""
    count = 0
    while count < spanned and row[count] == above[count]:
        count += 1
    return count


def _rule(widths: Sequence[int], dash: str, open_columns: int = 0) -> str:
    """A line between rows; the first `open_columns` stay open, as their cells go on below it."""
    cells = [" " * (width + 2) if column < open_columns else dash * (width + 2) for column, width in enumerate(widths)]
    text = ("|" if open_columns else "+") + cells[0]
    for column, cell in enumerate(cells[1:], 1):
        text += ("|" if column < open_columns else "+") + cell
    return text + "+"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(padded) + " |"


def _width(text: str) -> int:
    """Columns that `text` takes in a grid table: a wide character takes two, one that combines with another none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _markdown(text: str) -> str:
    escaped = _MARKDOWN.sub(r"\\\g<0>", html.escape(one_line(text), quote=False))
    escaped = re.sub(r"^(\d+)(?=[.)](?:\s|$))", r"\1\\", escaped)  # nor a number the first of a list
    return re.sub(r"\\\[(\d+)\\\](?![(:])", r"[\1]", escaped)  # a mark is no link


def _rst(text: str) -> str:
    line = one_line(text)
    return ("\\ " if _RST_BLOCK.match(line) else "") + _RST.sub(r"\\\g<0>", line)
