"""The private pipes between a worker and its parent: events up, and down a go-ahead after each cell."""

import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from speed_benchmark.worker import events

PULSE_S = 0.5


class ParentGoneError(Exception):
    """The parent has ended: nobody hears any more of what is measured."""


class Pipe:
    """Sends events, one a line, from any thread; waits for the parent's go-ahead.

    `write` and `go` are descriptors. In a test, a subclass overrides `send` and `wait` and needs neither.
    """

    def __init__(self, write: int, go: int) -> None:
        self._write, self._go = write, go
        self._lock = threading.Lock()

    def send(self, event: events.Event) -> None:
        """Write one event whole."""
        line = event.model_dump_json().encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._write, line) :]

    def wait(self) -> None:
        """Return once the parent has stored the cell just done; raise ParentGoneError where it has ended."""
        if not os.read(self._go, 1):
            raise ParentGoneError


class Pulse:
    """Tells the parent every half second how many tokens have come, without touching the timed thread.

    `token_times` are the times of the tokens of each sequence, which grow meanwhile.
    """

    def __init__(self, pipe: Pipe, token_times: Sequence[Sequence[float]]) -> None:
        self._pipe, self._token_times = pipe, token_times
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        while not self._ended.wait(PULSE_S):
            self._pipe.send(events.Progress(tokens=sum(map(len, self._token_times))))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
