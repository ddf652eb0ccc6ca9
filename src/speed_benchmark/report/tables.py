"""Tables and bars on the terminal."""

import io
import statistics
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable

from speed_benchmark.record.record import Outcome, Record
from speed_benchmark.report import rows as flat
from speed_benchmark.report.documents import Document
from speed_benchmark.report.layout import one_line
from speed_benchmark.report.rows import GIB, memory_bytes

# A first request that takes longer by more than this has prepared something; who sends new lengths pays it each time.
SLOW_FIRST = 1.5
# More repeats than this share bars.
_MOST_BARS = 30
_BAR_COLUMNS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def text(document: Document) -> str:
    """What `print_document` prints, without colours, 160 columns wide."""
    file = io.StringIO()
    print_document(document, Console(file=file, width=160, highlight=False, markup=False, emoji=False))
    return file.getvalue()


def print_document(document: Document, console: Console | None = None) -> None:
    """Print the tables of `document`, what stands below each, and its bars."""
    console = console or _console()
    console.print(document.title, style="bold")
    for line in document.intro:
        console.print(line, style="dim")
    for table in document.tables:
        console.print()
        if table.title:
            console.print(one_line(table.title), style="bold")
        console.print(one_line(table.conditions), style="dim")
        _print_whole(console, _table(table.columns, table.numeric, [line.cells for line in table.lines], table.spanned))
        for note in table.notes:
            console.print(one_line(note))
        console.print(*bars(table.bars), sep="\n", soft_wrap=True)


def print_table(records: Sequence[Record], paths: Sequence[Path]) -> None:
    """Print the report's columns for `records`, what to doubt in them, and where they are stored."""
    console = _console()
    memory = "GPU memory (GiB)" if any(record.gpus for record in records) else "host memory (GiB)"
    columns = ("model", "engine", "input", "output", "speed (tokens/s)", memory, "GPUs", "verdict")
    numeric = tuple(2 <= index <= 6 for index in range(len(columns)))
    _print_whole(console, _table(columns, numeric, [_row(record) for record in records], 0))
    console.print("speed: generated tokens / whole request time, the Qwen2.5 report's definition; mean of the repeats")
    if any(record.summary and record.summary.generation_tokens_per_s.interval for record in records):
        console.print("±: half of the 95 % confidence interval, where one is honest")
    for line in bars(_bars(records)):
        console.print(line, soft_wrap=True)
    for line in explain_all(records):
        console.print(line, soft_wrap=True)
    for path in paths:
        console.print(f"record: {path}", soft_wrap=True)


def explain_all(records: Sequence[Record]) -> list[str]:
    """What `explain` says of each record below the record's name; what it says of all of them is said once."""
    explained = [explain(record) for record in records]
    if len(records) == 1:
        return explained[0]
    shared = [line for line in explained[0] if all(line in lines for lines in explained)] if explained else []
    found = []
    for record, lines in zip(records, explained, strict=True):
        if own := [f"  {line}" for line in lines if line not in shared]:
            found += [_label(flat.row(record, "")), *own]
    return found + [f"all: {line}" for line in shared]


def explain(record: Record) -> list[str]:
    """Lines that say what the table has no room for: made-up weights, more speeds, doubts, the cause of a failure."""
    lines = []
    if record.checkpoint and record.checkpoint.source == "synthetic":
        lines.append("weights: made up, of the model's true shape; speed and memory are real, the text is nonsense")
    if record.summary:
        summary = record.summary
        decode = f"{summary.decode_tokens_per_s.mean:.2f} tokens/s" if summary.decode_tokens_per_s else "n/a"
        first_ms = summary.time_to_first_token_s.mean * 1000
        lines.append(
            f"first token after {first_ms:.1f} ms, then {decode}; total {summary.total_tokens_per_s.mean:.2f} tokens/s"
        )
        first_s, usual_s = flat.first_request_s(record), summary.duration_s.mean
        if record.warmups and first_s is not None and first_s > SLOW_FIRST * usual_s:
            lines.append(f"the first request took {first_s:.4g} s, {first_s / usual_s:.2g} times as long as a repeat")
    if record.loaded:
        loaded = record.loaded
        kernels = f" by {', '.join(loaded.quantization_kernels)}" if loaded.quantization_kernels else ""
        ran = f"{loaded.quantization}{kernels}, {loaded.attention_implementation} attention, {loaded.execution}"
        lines.append(f"ran: {ran}, rope {loaded.rope}, on {', '.join(loaded.devices)}")
    if record.agreement:
        other = record.agreement
        lines.append(f"{other.engine} chose the same first {other.agreed} of {other.compared} tokens")
    lines += [f"{finding.severity} ({finding.code}): {finding.text}; {finding.cure}" for finding in record.findings]
    if record.cause:
        stage = f" while {record.cause.stage}" if record.cause.stage else ""
        lines.append(f"{record.outcome}{stage}: {record.cause.message}")
        lines += [f"  | {line}" for line in record.cause.last_lines[-10:]]
    return lines


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


def _bars(records: Sequence[Record]) -> list[tuple[str, float, str]]:
    """The speed of each record, or of each repeat where there is one record: of some together where they are many."""
    shown = [flat.row(record, "") for record in records]
    if len(shown) == 1:
        speeds = shown[0].repeat_tokens_per_s
        together = -(-len(speeds) // _MOST_BARS) or 1
        found = []
        for start in range(0, len(speeds), together):
            mean = statistics.fmean(some := speeds[start : start + together])
            label = f"repeat {start + 1}" if len(some) == 1 else f"repeats {start + 1} to {start + len(some)}"
            found.append((label, mean, f"{mean:.2f}"))
        return found
    return [
        (_label(one), speed, f"{speed:.2f}")
        for one in shown
        if one.measured and (speed := one.generation_tokens_per_s) is not None
    ]


def _label(row: flat.Row) -> str:
    return " ".join(filter(None, (row.model, row.quantization, row.engine, str(row.input_tokens))))


def _bar(share: float) -> str:
    whole, eighths = divmod(round(share * _BAR_COLUMNS * 8), 8)
    return "█" * whole + (_EIGHTHS[eighths] if eighths else "")


def _console() -> Console:
    """Text of records is never markup."""
    return Console(highlight=False, markup=False, emoji=False)


def _print_whole(console: Console, table: RichTable) -> None:
    """Print `table` wider than the terminal rather than leave a column out."""
    needed = Measurement.get(console, console.options, table).minimum
    console.print(table, width=max(console.width, needed), crop=False)


def _table(columns: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str]], spanned: int) -> RichTable:
    table = RichTable(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(table.columns):
        words = [word for row in rows for word in ([row[index]] if numeric[index] else row[index][:28].split(" "))]
        column.justify = "right" if numeric[index] else "left"
        column.overflow = "fold"
        column.min_width = max(map(cell_len, [*words, *str(column.header).split(" ")]))
    above: Sequence[str] = ()
    for row in rows:
        same = 0
        while above and same < spanned and row[same] == above[same]:
            same += 1
        table.add_row(*[""] * same, *(one_line(cell) for cell in row[same:]))
        above = row
    return table


def _row(record: Record) -> tuple[str, ...]:
    cell = record.cell
    speed = record.summary.generation_tokens_per_s if record.summary else None
    interval = speed.interval if speed else None
    known = f" ± {(interval.high - interval.low) / 2:.2f}" if interval else ""
    used = memory_bytes(record)
    measured = record.outcome in (Outcome.OK, Outcome.INVALID)
    return (
        cell.model.model_id_or_path,
        cell.settings.engine,
        str(cell.workload.context_length),
        str(cell.workload.generate_length),
        f"{speed.mean:.2f}{known}" if speed and measured else str(record.outcome),
        f"{used / GIB:.2f}" if used else "",
        str(cell.settings.gpu_count) if cell.settings.gpu_count else "CPU",
        str(record.verdict),
    )
