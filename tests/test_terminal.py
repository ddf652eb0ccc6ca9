"""What is printed: text that steers nothing, on whatever stream there is."""

import io
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from speed_benchmark import terminal
from speed_benchmark.errors import UserError
from speed_benchmark.terminal import console, one_line, printable, replace_unknown, say

STEERING = "a\x1b[2J\x9b1m\u202e\r\n\u2028\0b"


@given(st.text())
def test_text_is_printable_and_as_long_as_it_was(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
    assert printable(printable(text)) == printable(text)


def test_what_can_be_seen_stays() -> None:
    for text in ("  indented █▏ ± é 速度 😀", ""):
        assert printable(text) == text
    assert one_line(" a\n\tb  \x1b c ") == "a b c"


@pytest.mark.attack("2.7")
def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(STEERING)
    say(STEERING, error=True)
    assert capsys.readouterr() == ((f"{printable(STEERING)}\n",) * 2)
    assert str(UserError("--option", STEERING, STEERING)) == "--option a [2J 1m b: a [2J 1m b"


@pytest.mark.attack("2.7")
def test_all_text_of_a_console_is_plain() -> None:
    file = io.StringIO()
    table = Table(STEERING, title=STEERING, caption=STEERING)
    table.add_row("[red]x[/red] :smile:")
    shown = console(file=file, width=200)
    shown.print(table, STEERING, Text("own"), sep="\n")
    shown.print(STEERING, soft_wrap=True)
    text = file.getvalue()
    assert {character for character in text if not character.isprintable()} == {"\n"}
    assert "[red]x[/red] :smile:" in text
    assert text.splitlines()[-1] == printable(STEERING)


@pytest.mark.attack("1.33")
def test_what_a_stream_lacks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    written = [io.BytesIO(), io.BytesIO()]
    for name, file in zip(("stdout", "stderr"), written, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(file, "ascii"))
    replace_unknown()
    say("█ 速")
    say("█ 速", error=True)
    console().print("█ 速")
    assert [file.getvalue() for file in written] == [b"? ?\n? ?\n", b"? ?\n"]


def test_nothing_is_shown_past_the_terminal() -> None:
    """Text that is printed elsewhere is printed as it came."""
    package = Path(terminal.__file__).parent
    # What these write is read by their parent.
    children = {"machine/peaks.py", "machine/sampler.py", "models/shapes/__main__.py"}
    past = re.compile(r"\bprint\(|\bsys\.std(out|err)\b(?!\.isatty)|\becho\(|\bConsole\(")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if past.search(re.sub(r"\w+(\(\))?\.print\(", "", path.read_text()))
    }
    assert found - children == {"terminal.py"}
