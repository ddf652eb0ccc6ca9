"""Processes that a worker left behind, wherever they have gone: they carry its mark in their environment."""

import os
import signal
import time
import uuid
from contextlib import suppress

import psutil

VARIABLE = "SPEED_BENCHMARK_WORKER"
_PATIENCE_S = 4.0
_POLL_S = 0.02


def new_mark() -> str:
    """A mark that no other worker has."""
    return uuid.uuid4().hex


def end(mark: str) -> None:
    """Kill every process that inherited `mark`, but not this one; a session of its own does not save it.

    Looks again until none is left, for a process may start another while it is being killed; gives up on one that
    a driver does not let go.
    """
    give_up = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up and (found := [pid for pid in _marked(mark) if pid != os.getpid()]):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _marked(mark: str) -> list[int]:
    """Processes with `mark` in their environment; that of processes of other users can't be read, and is None."""
    return [
        process.pid
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(VARIABLE) == mark
    ]
