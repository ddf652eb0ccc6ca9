"""Sweeps that run beside a test, and signals that are sent to them at a certain line of their log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.faults.sweeps import Ran, arguments, processes_left, stored


def start(
    models: list[Path], out: Path, *more: object, lengths: str = "5,6", prefix: tuple[str, ...] = (), **options: Any
) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-m", "speed_benchmark", *arguments(models, out, *more, lengths=lengths)]
    return subprocess.Popen(
        command, cwd=out.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0,
        **options,
    )  # fmt: skip


def wait_for_line(process: subprocess.Popen[str], at: str, time_: int = 1) -> str:
    """The log until `at` is in it for the `time_`-th time."""
    assert process.stderr is not None
    log = ""
    for line in process.stderr:
        log += line
        if log.count(at) >= time_:
            return log
    raise AssertionError(log)


def finish(process: subprocess.Popen[str], out: Path, log: str = "") -> Ran:
    """What came of it once it has ended; nothing of it is left."""
    started = time.monotonic()
    assert process.stderr is not None
    log += process.stderr.read()
    ran = stored(Ran(process.wait(30), log, time.monotonic() - started), out)
    assert processes_left(out.parent) == []
    return ran


def interrupt(process: subprocess.Popen[str], at: str, out: Path, *signals: signal.Signals, time_: int = 1) -> Ran:
    """Send `signals` once the log says `at` for the `time_`-th time, and wait for the end."""
    log = wait_for_line(process, at, time_)
    started = time.monotonic()
    for number in signals:
        os.killpg(process.pid, number)  # as a terminal does, to all of the group
        time.sleep(0.3)
    ran = finish(process, out, log)
    ran.seconds = time.monotonic() - started
    return ran


def worker_of(parent: int) -> list[int]:
    """The worker processes of a running sweep."""
    children = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return [child for child in children if b"speed_benchmark.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


def tree(parent: int) -> list[int]:
    """A running sweep and all that it started, itself first."""
    return [parent, *(child.pid for child in psutil.Process(parent).children(recursive=True))]


def send(number: signal.Signals, pids: list[int], apart_s: float = 0.0) -> None:
    """A signal to processes one after the other; some may have ended by an earlier one."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        time.sleep(apart_s)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Inside, it may run; afterwards it has ended, whatever a test found."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
