"""A document in the format that was asked for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from speed_benchmark.errors import UserError
from speed_benchmark.report.documents import Document
from speed_benchmark.report.exports import to_csv, to_json
from speed_benchmark.report.markup import markdown, rst
from speed_benchmark.report.words import Format
from speed_benchmark.terminal import output


def render(document: Document, form: Format) -> str:
    """`document` as the text of a file."""
    match form:
        case "markdown":
            return markdown(document)
        case "rst":
            return rst(document)
        case "csv":
            return to_csv(document.data)
        case "json":
            return to_json(document.data)
        case "html":
            from speed_benchmark.report.page import html

            return html(document)
        case "text":
            from speed_benchmark.report.tables import text

            return text(document)


def put(content: bytes, out: Path | None) -> None:
    """Write `content` to the file `out`, or to standard output; raises UserError where the file can't be written."""
    with opened(out) as file:
        file.write(content)


@contextmanager
def opened(out: Path | None) -> Iterator[IO[bytes]]:
    """The file `out` to write to, or standard output; raises UserError where the file can't be written."""
    if out is None:
        with output() as file:
            yield file
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("wb") as file:
            yield file
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError("--out", out, f"can't be written ({reason}); name another file") from None
