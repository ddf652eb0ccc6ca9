"""What is shown on standard output and standard error: text of others must not steer a terminal.

All of it passes here: lines through `say`, tables through `console`, bytes for other programs through `output`.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# As if SIGPIPE had ended the process: it is no verdict.
CLOSED = 128 + signal.SIGPIPE
FAILED = 2


def printable(text: str) -> str:
    """`text` with a space for each character that moves the cursor, ends a line, turns it round or can't be seen."""
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)


def one_line(text: str) -> str:
    """`text` as one printable line, with single spaces."""
    return " ".join(printable(text).split())


def replace_unknown() -> None:
    """Let both streams show `?` for what their encoding lacks, as that of a terminal of ASCII does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(line: str, *, error: bool = False) -> None:
    """Print one line on standard output, or on standard error."""
    stream = sys.stderr if error else sys.stdout
    with _written(stream, needed=not error):
        print(printable(line), file=stream, flush=True)


@contextmanager
def output() -> Iterator[IO[bytes]]:
    """Standard output for bytes that other programs read."""
    with _written(sys.stdout, needed=True):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


def console(*, error: bool = False, **settings: Any) -> "Console":  # noqa: ANN401 - those of rich's Console
    """A console of rich for standard output, or standard error, to which all text is plain."""
    return _console()(stderr=error, highlight=False, markup=False, emoji=False, **settings)


@contextmanager
def _written(stream: IO[str], *, needed: bool) -> Iterator[None]:
    """End the process where a stream that is `needed` takes no more; without another one it goes on in silence."""
    try:
        yield
    except OSError as error:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - what is buffered is written at exit
            os.dup2(nowhere.fileno(), stream.fileno())
        if not needed:
            return
        if isinstance(error, BrokenPipeError):
            raise SystemExit(CLOSED) from None
        say(f"error: standard output can't be written ({error.strerror})", error=True)
        raise SystemExit(FAILED) from None


@cache
def _console() -> "type[Console]":
    """The class, made where it is first needed: rich takes long to import."""
    from rich.console import Console
    from rich.text import Text

    class PlainConsole(Console):
        """Shows text, that of tables too, as it is and not as it would be obeyed."""

        def render_str(self, text: str, **rest: Any) -> Text:  # noqa: ANN401 - rich's
            return super().render_str(printable(text), **rest)

        def __exit__(self, *error: Any) -> None:  # noqa: ANN401 - rich writes here
            with _written(self.file, needed=not self.stderr):
                super().__exit__(*error)

        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - rich is handling it; it would end in 1

    return PlainConsole
