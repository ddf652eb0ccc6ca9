"""What is going on, while it goes on: one live line on a terminal, a plain log elsewhere."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from speed_benchmark import events
from speed_benchmark.cell import Cell
from speed_benchmark.results.record import Record

_LOG_EVERY_S = 10.0
_HEIGHTS = "▁▂▃▄▅▆▇█"


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def planned(self, cells: int, done: int) -> None:
        """Nothing."""

    def fetching(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Nothing."""

    def happened(self, cell: Cell, event: events.Event) -> None:
        """Nothing."""

    def stored(self, record: Record, path: Path) -> None:
        """Nothing."""


class Display(Silence):
    """Shows each stage on standard error, and how far it is."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        self._status = self._console.status("starting") if self._live else None
        self._stage, self._stage_since = "", time.monotonic()
        self._speeds: list[float] = []
        self._logged = ("", 0.0)

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def fetching(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Weights are on their way."""
        self._enter(what)
        self._show(f"{done_bytes / 2**20:,.0f} of {total_bytes / 2**20:,.0f} MiB" if total_bytes else "")

    def happened(self, cell: Cell, event: events.Event) -> None:
        """A stage begins, or has come further."""
        asked = cell.workload.generate_length
        match event:
            case events.Stage():
                name = {"import": "starting the engine", "load": "loading the model"}.get(event.name, event.name)
                if event.name == "prepare":
                    self._speeds.clear()
                self._enter(f"{name} {event.index} of {event.count}" if event.name in ("warmup", "repeat") else name)
                self._show(f"input {cell.workload.context_length}" if event.cell is not None else "")
            case events.Progress():
                self._show(f"{event.tokens} of {asked} tokens" if event.tokens else "waiting for the first token")
            case events.Sampled():
                sample = event.sample
                if sample.duration_s and not event.warmup:
                    self._speeds.append(sample.output_tokens / sample.duration_s)
                speed = f"{sample.output_tokens / sample.duration_s:.2f} tokens/s" if sample.duration_s else "no time"
                self._show(f"{speed} in {sample.duration_s:.2f} s", force=True)
            case _:
                pass

    def stored(self, record: Record, path: Path) -> None:
        """The record is safe."""
        self._enter("stored")
        self._show(f"{record.outcome}, {record.verdict}, in {path}", force=True)

    def _enter(self, stage: str) -> None:
        if stage != self._stage:
            self._stage, self._stage_since = stage, time.monotonic()

    def _show(self, detail: str, *, force: bool = False) -> None:
        now = time.monotonic()
        text = f"{self._stage}: {detail}" if detail else self._stage
        if self._status:
            self._status.update(f"{text} {sparkline(self._speeds)} [dim]({now - self._stage_since:.0f} s)[/]")
        elif force or self._stage != self._logged[0] or now - self._logged[1] >= _LOG_EVERY_S:
            self._logged = (self._stage, now)
            print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)  # noqa: T201


def sparkline(values: Sequence[float]) -> str:
    """A character for each value, from lowest to highest; all alike where they are within a percent of each other."""
    if not values:
        return ""
    low, high = min(values), max(values)
    steps = len(_HEIGHTS) - 1
    if high - low <= 0.01 * high:
        return _HEIGHTS[steps // 2] * len(values)
    return "".join(_HEIGHTS[round((value - low) / (high - low) * steps)] for value in values)
