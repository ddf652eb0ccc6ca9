"""Processes that a worker left behind, wherever they have gone: they carry its mark in their environment."""

import ctypes
import os
import signal
import sys
import time
import uuid
from contextlib import suppress

import psutil

VARIABLE = "SPEED_BENCHMARK_WORKER"
_PATIENCE_S = 4.0
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1


def new_mark() -> str:
    """A mark that no other worker has."""
    return uuid.uuid4().hex


def end(mark: str) -> set[int]:
    """Kill every process that inherited `mark`, but not this one; a session of its own does not save it.

    Returns the ids of those that it killed.
    Looks again until none is left, for a process may start another while it is being killed; gives up on one that
    a driver does not let go.
    """
    killed: set[int] = set()
    give_up = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up and (found := [pid for pid in _marked(mark) if pid != os.getpid()]):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(_POLL_S)
    return killed


def reap(*ids: int) -> None:
    """Take away what has died of these processes, or groups below 0, where this process has inherited them.

    It does where it is the first one of a container: nobody else there takes away the dead.
    """
    give_up = time.monotonic() + _PATIENCE_S
    for one in ids:
        with suppress(ChildProcessError):  # not inherited, or nothing is left of it
            while time.monotonic() < give_up:
                if os.waitpid(one, os.WNOHANG) == (0, 0):
                    time.sleep(_POLL_S)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies, on Linux: the guard could have been killed before.

    What counts is the thread that started this process. A worker is started, followed and ended by one call in one
    thread, also where sessions run side by side, so that the thread outlives it unless the whole parent dies.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _marked(mark: str) -> list[int]:
    """Processes with `mark` in their environment; that of processes of other users can't be read, and is None."""
    return [
        process.pid
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(VARIABLE) == mark
    ]
