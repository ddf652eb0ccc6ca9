"""What is going on, while it goes on: a live display on a terminal, a plain log elsewhere."""

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from speed_benchmark.cell import QUICK_WINDOW_TOKENS, Cell
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.run.observer import NullObserver
from speed_benchmark.run.stored import of_judged
from speed_benchmark.terminal import console, printable, say
from speed_benchmark.worker import events

_LOG_EVERY_S = 10.0
_LAST = 3
_STAGES = {
    "import": "starting the engine",
    "build": "building kernels, once on this machine",
    "load": "loading the model",
}
_HEIGHTS = "▁▂▃▄▅▆▇█"


@dataclass
class _Line:
    """What one worker is doing."""

    name: str
    stage: str = ""
    since: float = 0.0
    detail: str = ""
    speeds: list[float] = field(default_factory=list)

    def text(self) -> str:
        """The line without the time that it has taken."""
        said = f"{self.stage}: {self.detail}" if self.detail else self.stage
        return " ".join(filter(None, (self.name, said)))


class Display(NullObserver):
    """Shows each stage on standard error and how far it is, and of a sweep how far all of it is.

    On a terminal one block that is drawn anew, elsewhere a log. Workers side by side may all call it.
    """

    def __init__(self) -> None:
        self._console = console(error=True)
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._cells = self._done = self._before = 0
        self._expected: list[tuple[str, float]] = []
        self._expected_done_s = 0.0
        self._outcomes: Counter[str] = Counter()
        self._last: deque[str] = deque(maxlen=_LAST)
        self._lines: dict[str, _Line] = {}
        self._logged = ("", 0.0)
        self._live = Live(get_renderable=self._draw, console=self._console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def planned(self, cells: int, done: int) -> None:
        """A sweep begins, or goes on."""
        with self._lock:
            self._cells, self._done, self._before, self._began = cells, done, done, time.monotonic()
            if self._cells > 1:
                self._say(self._whole())

    def expected(self, cells: Sequence[tuple[str, float]]) -> None:
        """How long each cell that is left will take, as it was forecast."""
        with self._lock:
            self._expected = list(cells)

    def fetching(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Weights are on their way."""
        with self._lock:
            line = self._lines.setdefault("", _Line(""))
            detail = f"{done_bytes / 2**20:,.0f} of {total_bytes / 2**20:,.0f} MiB" if total_bytes else ""
            self._show(line, what, detail)

    def happened(self, cell: Cell, event: events.Event) -> None:
        """A stage begins, or has come further."""
        with self._lock:
            self._lines.pop("", None)
            line = self._lines.setdefault(cell.cell_id, _Line(_name(cell) if self._cells > 1 else ""))
            match event:
                case events.Stage():
                    stage = _STAGES.get(event.name, event.name)
                    if event.name in ("warmup", "repeat"):
                        stage += f" {event.index} of {event.count}"
                    if event.name == "prepare":
                        line.speeds.clear()
                    self._show(line, stage, f"input {cell.workload.context_length}" if event.cell is not None else "")
                case events.Progress():
                    waiting = "waiting for the first token"
                    done = f"{event.tokens} of {_asked_tokens(cell)} tokens"
                    self._show(line, line.stage, done if event.tokens else waiting)
                case events.Sampled():
                    sample = event.sample
                    speed = sample.output_tokens / sample.duration_s if sample.duration_s else None
                    if speed is not None and not event.warmup:
                        line.speeds.append(speed)
                    shown = "no time" if speed is None else f"{speed:.2f} tokens/s"
                    self._show(line, line.stage, f"{shown} in {sample.duration_s:.2f} s", force=True)
                case events.Closed():
                    self._lines.pop(cell.cell_id, None)
                case _:
                    pass

    def stored(self, judged: Judged, path: Path) -> None:
        """The record is safe."""
        with self._lock:
            record, summary = judged.record, judged.judgement.summary
            label = of_judged(judged, path, is_new=True).label
            self._done += 1
            self._pass(record.cell_id)
            self._outcomes[str(record.outcome)] += 1
            self._lines.pop(record.cell_id, None)
            speed = f", {summary.generation_tokens_per_s.mean:.2f} tokens/s" if summary else ""
            self._last.append(f"{_name(record.cell)} input {record.cell.workload.context_length}: {label}{speed}")
            self._say(f"stored: {label}, in {path}")
            if self._cells > 1:
                self._say(self._whole())

    def said(self, line: str) -> None:
        """A line that stays, on a terminal above the block."""
        with self._lock:
            if self._console.is_terminal:
                self._console.print(line, soft_wrap=True)
            self._say(line)

    def _whole(self) -> str:
        """How far the sweep is: cells done, how they ended, cells left, and the time for these."""
        ended = ", ".join(f"{count} {outcome}" for outcome, count in self._outcomes.items())
        left = self._cells - self._done
        left_s = self._left_s(left) if left else None
        more = f", about {timedelta(seconds=round(left_s))}" if left_s is not None else ""
        earlier = f"{'; ' if ended else ''}{self._before} from before" if self._before else ""
        how = f" ({ended}{earlier})" if ended or earlier else ""
        return f"{self._done} of {self._cells} cells{how}, {left} left{more}"

    def _left_s(self, left: int) -> float | None:
        """Seconds for the cells that are left: as forecast, at the pace that those had that are done.

        Where not all of them were forecast they take as long as the others on average; None where nothing is known.
        """
        new, taken_s = self._done - self._before, time.monotonic() - self._began
        if len(self._expected) < left:
            return taken_s / new * left if new else None
        pace = taken_s / self._expected_done_s if self._expected_done_s else 1.0
        return pace * sum(seconds for _, seconds in self._expected)

    def _pass(self, cell_id: str) -> None:
        """A cell is done: what was forecast of it is no longer ahead."""
        one = next((one for one in self._expected if one[0] == cell_id), None)
        if one:
            self._expected.remove(one)
            self._expected_done_s += one[1]

    def _show(self, line: _Line, stage: str, detail: str, *, force: bool = False) -> None:
        """Note what a worker does; in a log, once for each stage and else every ten seconds."""
        now = time.monotonic()
        if stage != line.stage:
            line.stage, line.since = stage, now
        line.detail = detail
        if force or stage != self._logged[0] or now - self._logged[1] >= _LOG_EVERY_S:
            self._logged = (stage, now)
            self._say(line.text())

    def _say(self, text: str) -> None:
        """A line of the log; on a terminal the block says it."""
        if not self._console.is_terminal:
            say(f"{time.strftime('%H:%M:%S')} {text}", error=True)

    def _draw(self) -> Group:
        """The block: the sweep, the last verdicts, and a line for each worker."""
        with self._lock:
            now = time.monotonic()
            texts = [self._whole(), *(f"  {last}" for last in self._last)] if self._cells > 1 else []
            texts += [
                f"{line.text()} {sparkline(line.speeds)} ({now - line.since:.0f} s)" for line in self._lines.values()
            ]
            return Group(*(Text(printable(text), no_wrap=True, overflow="ellipsis") for text in texts))


def _name(cell: Cell) -> str:
    return f"{cell.model.model_id_or_path} {cell.settings.engine}"


def _asked_tokens(cell: Cell) -> int:
    """How many tokens a request for `cell` generates, those of all sequences; with --quick it is for a part of them."""
    each = QUICK_WINDOW_TOKENS if cell.protocol.quick else cell.workload.generate_length
    return each * cell.workload.batch_size


def sparkline(values: Sequence[float]) -> str:
    """A character for each value, from lowest to highest; all alike where they are within a percent of each other."""
    if not values:
        return ""
    low, high = min(values), max(values)
    steps = len(_HEIGHTS) - 1
    if high - low <= 0.01 * high:
        return _HEIGHTS[steps // 2] * len(values)
    return "".join(_HEIGHTS[round((value - low) / (high - low) * steps)] for value in values)
