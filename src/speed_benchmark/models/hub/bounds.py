"""How much a hub may send, and how long it may take: what answers need not be honest, or end."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from speed_benchmark.models.hub import repository

# The listing of a repository of thousands of files takes a megabyte.
MAX_ANSWER_BYTES = 50_000_000
MAX_ANSWER_S = 300.0
# As ModelScope's client has it for a file's contents.
LEAST_BYTES_PER_S, WINDOW_S = 1024, 60.0


class Bound(Protocol):
    """What is told of the bytes that a hub sends; it raises FetchError where there are too many, or too few."""

    def came(self, count_bytes: int) -> None:
        """So many bytes have come."""
        ...


@dataclass
class Answer:
    """All that a hub says to one question, in however many pages: bounded in size and in time."""

    endpoint: str
    left_bytes: int = field(default_factory=lambda: MAX_ANSWER_BYTES)
    until_s: float = field(default_factory=lambda: time.monotonic() + MAX_ANSWER_S)

    def came(self, count_bytes: int) -> None:
        """So many bytes have come."""
        self.left_bytes -= count_bytes
        if self.left_bytes < 0:
            raise repository.too_much(self.endpoint)
        if time.monotonic() > self.until_s:
            raise repository.too_slow(self.endpoint)


@dataclass
class Transfer:
    """The contents of a file, whose size is known: they may take long, but not stand almost still."""

    endpoint: str
    stop: Event
    since_s: float = field(default_factory=time.monotonic)
    window_bytes: int = 0

    def came(self, count_bytes: int) -> None:
        """So many bytes have come."""
        if self.stop.is_set():
            raise StoppedError
        self.window_bytes += count_bytes
        window_s = time.monotonic() - self.since_s
        if window_s > WINDOW_S:
            if self.window_bytes < window_s * LEAST_BYTES_PER_S:
                raise repository.too_slow(self.endpoint)
            self.since_s, self.window_bytes = time.monotonic(), 0


class StoppedError(Exception):
    """Another file has failed, or the user has asked to stop."""


def counted(chunks: Iterator[bytes], bound: Bound) -> Iterator[bytes]:
    """The `chunks` of an answer as they come, until there are too many."""
    for chunk in chunks:
        bound.came(len(chunk))
        yield chunk
