"""Who watches a sweep: a terminal, a log, a test, or nobody."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from speed_benchmark.cell import Cell
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.terminal import say
from speed_benchmark.worker.events import Event


class Observer(Protocol):
    """What a sweep tells while it goes on; with workers side by side, from several threads."""

    def planned(self, cells: int, done: int) -> None:
        """The sweep has so many cells, and so many of them are measured already."""
        ...

    def expected(self, cells: Sequence[tuple[str, float]]) -> None:
        """Each cell that is left, by its id, will take so many seconds."""
        ...

    def fetching(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Weights are being downloaded, made or hashed."""
        ...

    def happened(self, cell: Cell, event: Event) -> None:
        """The worker that measures `cell` said something."""
        ...

    def stored(self, judged: Judged, path: Path) -> None:
        """A record is on disk."""
        ...

    def said(self, line: str) -> None:
        """A sentence for the user."""
        ...


class NullObserver:
    """Shows no progress; what is said to the user comes all the same, so that nothing is replayed in silence."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def planned(self, cells: int, done: int) -> None:
        """Nothing."""

    def expected(self, cells: Sequence[tuple[str, float]]) -> None:
        """Nothing."""

    def fetching(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Nothing."""

    def happened(self, cell: Cell, event: Event) -> None:
        """Nothing."""

    def stored(self, judged: Judged, path: Path) -> None:
        """Nothing."""

    def said(self, line: str) -> None:
        """On standard error."""
        say(line, error=True)
