"""Tables of records on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from speed_benchmark.results.record import Memory, Outcome, Record

_GIB = 2**30


def memory_column(record: Record) -> tuple[str, float | None]:
    """The name of the memory figure that the report means on this record's machine, and its GiB."""
    peak = record.summary.memory if record.summary else Memory()
    if record.gpus:
        used = peak.allocator_peak_allocated_bytes
        return "GPU memory (GiB)", used / _GIB if used else None
    used = peak.host_peak_rss_bytes
    return "host memory (GiB)", used / _GIB if used else None


def print_table(records: Sequence[Record], paths: Sequence[Path]) -> None:
    """Print the report's columns for `records`, what to doubt in them, and where they are stored."""
    console = Console(highlight=False)
    columns = (
        "model",
        "engine",
        "input",
        "output",
        "speed (tokens/s)",
        memory_column(records[0])[0],
        "GPUs",
        "verdict",
    )
    table = Table(*columns)
    for column in table.columns[2:7]:
        column.justify = "right"
    for record in records:
        table.add_row(*_row(record))
    console.print(table)
    console.print("speed: generated tokens / whole request time, the Qwen2.5 report's definition; mean of the repeats")
    for record in records:
        for line in explain(record):
            console.print(line)
    for path in paths:
        console.print(f"record: {path}", soft_wrap=True)


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
    if record.loaded:
        loaded = record.loaded
        kernels = f" by {', '.join(loaded.quantization_kernels)}" if loaded.quantization_kernels else ""
        ran = f"{loaded.quantization}{kernels}, {loaded.attention_implementation} attention, {loaded.execution}"
        lines.append(f"ran: {ran}, rope {loaded.rope}, on {', '.join(loaded.devices)}")
    lines += [f"{finding.severity} ({finding.code}): {finding.text}; {finding.cure}" for finding in record.findings]
    if record.cause:
        stage = f" while {record.cause.stage}" if record.cause.stage else ""
        lines.append(f"{record.outcome}{stage}: {record.cause.message}")
        lines += [f"  | {line}" for line in record.cause.last_lines[-10:]]
    return lines


def _row(record: Record) -> tuple[str, ...]:
    cell = record.cell
    speed = record.summary.generation_tokens_per_s if record.summary else None
    spread = f" ± {speed.stdev:.2f}" if speed and speed.stdev is not None else ""
    gib = memory_column(record)[1]
    measured = record.outcome in (Outcome.OK, Outcome.INVALID)
    return (
        cell.model.model_id_or_path,
        cell.settings.engine,
        str(cell.workload.context_length),
        str(cell.workload.generate_length),
        f"{speed.mean:.2f}{spread}" if speed and measured else str(record.outcome),
        f"{gib:.2f}" if gib else "",
        str(cell.settings.gpu_count) if cell.settings.gpu_count else "CPU",
        str(record.verdict),
    )
