"""What a request to stop means: a signal by which a user, a terminal or a scheduler asks this program to end."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from speed_benchmark.terminal import say

STOPPED_STATUS = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asks this program to stop; no KeyboardInterrupt, which libraries turn into what they see fit."""


def stoppable(command: Callable[[], int]) -> int:
    """The exit status of `command`; where a signal stops it, one line on standard error and a status that says so.

    It is for the whole life of a program: of any number of signals the first one counts, and none does afterwards.
    """
    asked: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        _take(_ignore)
        asked.append(number)
        raise Stopped

    try:
        sys.unraisablehook = _unraisable
        _take(stop)
        status = command()
        _take(_ignore)  # in here, for one may come first
    except BaseException:  # Stopped, or what the initialisation of a module written in C made of it
        if not asked:
            raise
        _say_stopped()
        status = STOPPED_STATUS
    finally:
        _take(signal.SIG_IGN)  # what Python still does until the process ends runs no handler
    return status


class Interrupt:
    """Counts the requests to stop while it is entered; whoever works asks it now and then.

    One Ctrl-C: finish the running repeat, store it and stop. Two, or a SIGTERM or SIGHUP: stop now.
    """

    def __init__(self) -> None:
        self._requests = 0
        self._abrupt = False
        self._signalled = False
        self._before: dict[signal.Signals, Any] = {}

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
        """Inside, a request to stop raises Stopped in the main thread: there is no repeat to finish."""
        gets_signals = threading.current_thread() is threading.main_thread()
        try:
            if gets_signals:
                self._abrupt = True
            if self.soon:
                raise Stopped
            yield
        finally:
            if gets_signals:
                self._abrupt = False

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        self._signalled = True
        self._requests += 1 if number == signal.SIGINT else 2
        if self._abrupt:
            self._abrupt = False  # once: what is cleaned up on the way out gets cleaned up
            raise Stopped

    def __enter__(self) -> Self:
        self._before = _take(self._asked)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, _ignore if self._signalled else handler)
        if self._signalled:  # what was asked for is about to be done; one of them may have come just now
            _take(_ignore)


def _take(handler: Any) -> dict[signal.Signals, Any]:  # noqa: ANN401 - as the signal module has it
    """Let `handler` have the requests to stop; returns whose they were.

    What was ignored when this program started stays so: nohup and a shell's background ask for that.
    """
    return {
        number: signal.signal(number, handler) for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
    }


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Unlike SIG_IGN it also takes a signal that has come already."""


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """A signal that came in a finalizer, where nothing can be raised, ends the process there and then."""
    if isinstance(unraisable.exc_value, Stopped):
        _say_stopped()
        os._exit(STOPPED_STATUS)
    sys.__unraisablehook__(unraisable)


def _say_stopped() -> None:
    say("interrupted", error=True)
