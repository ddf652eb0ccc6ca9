"""Tables and bars on the terminal."""

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable

from speed_benchmark.judge.reading import read
from speed_benchmark.report.documents import Document
from speed_benchmark.report.explain import explain
from speed_benchmark.report.layout import Command, outcome, placed
from speed_benchmark.report.layout import bars as speed_bars
from speed_benchmark.report.rows import Row, row
from speed_benchmark.report.words import Language, Words, words
from speed_benchmark.run.stored import Stored
from speed_benchmark.terminal import console as terminal

# The whole Qwen2.5 report is 336 cells.
MOST_ROWS = 400
# More repeats than this share bars.
_MOST_BARS = 30
_BAR_COLUMNS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Shown:
    """What the table after a run keeps of a record: its row, what is said below, its path, and when, if not now."""

    row: Row
    lines: tuple[str, ...]
    path: str
    measured_at: str = ""


def text(document: Document) -> str:
    """What `print_document` prints, without colours, 160 columns wide."""
    file = io.StringIO()
    print_document(document, terminal(file=file, width=160))
    return file.getvalue()


def print_document(document: Document, console: Console | None = None) -> None:
    """Print the tables of `document`, what stands below each, and its bars."""
    console = console or terminal()
    console.print(document.title, style="bold")
    for line in document.intro:
        console.print(line, style="dim")
    for table in document.tables:
        console.print()
        if table.title:
            console.print(table.title, style="bold")
        console.print(table.conditions, style="dim")
        _print_whole(console, _table(table.columns, table.numeric, [line.cells for line in table.lines], table.spanned))
        for note in table.notes:
            console.print(f"  {note}" if isinstance(note, Command) else note, soft_wrap=isinstance(note, Command))
        console.print(*bars(table.bars), sep="\n", soft_wrap=True)


def print_run(stored: Sequence[Stored], language: Language = "en") -> None:
    """Print the table after a run, what to doubt in its records, and where they are; each is read and let go again.

    Of more records than anybody reads in a terminal it says only how to see them.
    """
    if len(stored) > MOST_ROWS:
        folder = str(stored[0].path.parent)
        terminal().print(words(language)["too_many_rows"].format(count=len(stored), folder=folder), soft_wrap=True)
        return
    print_shown([_shown(one, language) for one in stored], language)


def print_shown(shown: Sequence[Shown], language: Language) -> None:
    """Print what was kept of the records of a run."""
    if not shown:
        return
    console, said, rows = terminal(), words(language), [one.row for one in shown]
    filled, _ = placed(rows, "run", lambda row: _speed(row, said), said)
    columns = [(one.heading, one.column.numeric, one.texts) for one in filled]
    if any(one.measured_at for one in shown):
        columns.append((said["measured_at"], False, tuple(one.measured_at for one in shown)))
    headings, numeric, texts = zip(*columns, strict=True)
    _print_whole(console, _table(headings, numeric, list(zip(*texts, strict=True)), 0))
    console.print(said["run.speed"])
    if any(_half_width(row) is not None for row in rows):
        console.print(said["run.interval"])
    for line in (*bars(_bars(rows, said)), *explained([(label(one.row), one.lines) for one in shown], said)):
        console.print(line, soft_wrap=True)
    for one in shown:
        console.print(said["run.record"].format(path=one.path), soft_wrap=True)


def explained(records: Sequence[tuple[str, Sequence[str]]], said: Words) -> list[str]:
    """The lines of each record below its name; what is said of all of them is said once."""
    if len(records) == 1:
        return list(records[0][1])
    everywhere = set.intersection(*(set(lines) for _, lines in records)) if records else set()
    found = []
    for name, lines in records:
        if own := [f"  {line}" for line in lines if line not in everywhere]:
            found += [name, *own]
    shared = [line for line in records[0][1] if line in everywhere] if records else []
    return found + [said["run.shared"].format(line=line) for line in shared]


def label(row: Row) -> str:
    """What a record is called in one line."""
    return " ".join(filter(None, (row.model, row.quantization, row.engine, row.length)))


def bars(values: Sequence[tuple[str, float, str]]) -> list[str]:
    """A line for each (label, value, text): a bar in proportion to its value, the longest for the greatest."""
    if len(values) < 2:
        return []
    longest = max(value for _, value, _ in values)
    width = max(cell_len(label) for label, _, _ in values)
    return [
        f"{' ' * (width - cell_len(label))}{label} {_bar(value / longest if longest else 0)} {text}"
        for label, value, text in values
    ]


def _shown(stored: Stored, language: Language) -> Shown:
    opinion = read(stored.path)
    when = "" if stored.is_new else f"{stored.measured_at:%Y-%m-%d %H:%M}"
    return Shown(row(opinion, stored.path.name, language), tuple(explain(opinion, language)), str(stored.path), when)


def _speed(row: Row, said: Words) -> str:
    """The speed and how sure it is, or why there is none."""
    if not row.measured:
        return outcome(row, said)
    half = _half_width(row)
    return f"{row.generation_tokens_per_s:.2f}" + ("" if half is None else f" ± {half:.2f}")


def _half_width(row: Row) -> float | None:
    low, high = row.generation_tokens_per_s_low, row.generation_tokens_per_s_high
    return (high - low) / 2 if low is not None and high is not None and row.measured else None


def _bars(rows: Sequence[Row], said: Words) -> list[tuple[str, float, str]]:
    """The speed of each record, or of each repeat where there is one record."""
    return _repeat_bars(rows[0].repeat_tokens_per_s, said) if len(rows) == 1 else speed_bars(rows, "qwen2.5", label)


def _repeat_bars(speeds: Sequence[float], said: Words) -> list[tuple[str, float, str]]:
    """The speed of each repeat; of some together where they are many."""
    together = -(-len(speeds) // _MOST_BARS) or 1
    found = []
    for start in range(0, len(speeds), together):
        mean = statistics.fmean(some := speeds[start : start + together])
        first, last = start + 1, start + len(some)
        name = said["run.repeat" if first == last else "run.repeats"].format(number=first, first=first, last=last)
        found.append((name, mean, f"{mean:.2f}"))
    return found


def _bar(share: float) -> str:
    whole, eighths = divmod(round(share * _BAR_COLUMNS * 8), 8)
    return "█" * whole + (_EIGHTHS[eighths] if eighths else "")


def _print_whole(console: Console, table: RichTable) -> None:
    """Print `table` wider than the terminal rather than leave a column out."""
    needed = Measurement.get(console, console.options, table).minimum
    console.print(table, width=max(console.width, needed), crop=False)


def _table(columns: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str]], spanned: int) -> RichTable:
    table = RichTable(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(table.columns):
        texts = [cells[index] for cells in rows]
        unbroken = [part for text in texts for part in ([text] if numeric[index] else text[:28].split(" "))]
        column.justify = "right" if numeric[index] else "left"
        column.overflow = "fold"
        column.min_width = max(map(cell_len, [*unbroken, *str(column.header).split(" ")]))
    above: Sequence[str] = ()
    for cells in rows:
        same = 0
        while above and same < spanned and cells[same] == above[same]:
            same += 1
        table.add_row(*[""] * same, *cells[same:])
        above = cells
    return table
