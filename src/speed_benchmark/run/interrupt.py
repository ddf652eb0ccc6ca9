"""What Ctrl-C means: once, finish the running repeat, store it and stop; twice, stop now, as on SIGTERM and SIGHUP."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """Counts the requests to stop while it is entered; whoever works asks it now and then."""

    def __init__(self) -> None:
        self._requests = 0
        self._abrupt = False
        self._shielded = False
        self._before: dict[signal.Signals, object] = {}

    @property
    def soon(self) -> bool:
        """Stop once the running repeat has ended."""
        return self._requests > 0

    @property
    def now(self) -> bool:
        """Stop at once."""
        return self._requests > 1

    def stop(self) -> None:
        """Stop at once, for a reason of this process's own."""
        self._requests = max(self._requests, 2)

    @contextmanager
    def abrupt(self) -> Iterator[None]:
        """Inside, a request to stop raises KeyboardInterrupt in the main thread: there is no repeat to finish."""
        if self.soon:
            raise KeyboardInterrupt
        with self._marked("_abrupt"):
            yield

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Inside, requests to stop are counted and raise nothing, however many: what is being stored gets stored."""
        with self._marked("_shielded"):
            yield

    @contextmanager
    def _marked(self, name: str) -> Iterator[None]:
        """Set the mark `name` for a while; other threads get no signals, and leave the main thread's marks alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = getattr(self, name)
        setattr(self, name, True)
        try:
            yield
        finally:
            setattr(self, name, before)

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        self._requests += 1 if number == signal.SIGINT else 2
        if self._shielded:
            return
        if self._abrupt or self._requests > 3:  # still here: something hangs that does not ask
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
