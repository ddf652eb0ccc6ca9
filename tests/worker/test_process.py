"""A worker's own process: its two pipes, and how it ends with its parent."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from speed_benchmark.worker import events
from tests.worker.jobs import job


class Child:
    """A worker's process on pipes of this test."""

    def __init__(self, what: events.Job) -> None:
        self.said, write = os.pipe()
        read, self.go = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "speed_benchmark.worker", str(write), str(read)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(write, read),
            start_new_session=True,
        )
        os.close(write)
        os.close(read)
        assert self.process.stdin is not None
        self.process.stdin.write(what.model_dump_json().encode() + b"\n")
        self.process.stdin.flush()
        self._lines = self._read()

    def events_until(self, kind: type) -> list[events.Event]:
        """What it says, up to the first event of a kind."""
        heard: list[events.Event] = []
        for line in self._lines:
            heard.append(events.EVENT.validate_json(line))
            if isinstance(heard[-1], kind):
                break
        return heard

    def _read(self) -> Iterator[bytes]:
        with open(self.said, "rb") as pipe:  # noqa: PTH123 - a descriptor
            yield from pipe

    def end(self) -> None:
        """End it, its guard with it."""
        with suppress(OSError):
            os.close(self.go)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def child(what: events.Job) -> Iterator[Child]:
    worker = Child(what)
    try:
        yield worker
    finally:
        worker.end()


def test_it_goes_on_only_once_it_is_told_to(tmp_path: Path) -> None:
    with child(job(tmp_path, {}, {"generate_length": 5})) as worker:
        assert isinstance(worker.events_until(events.CellDone)[-1], events.CellDone)
        process = psutil.Process(worker.process.pid)
        waiting_since = process.cpu_times()
        time.sleep(0.3)
        assert process.cpu_times().user == pytest.approx(waiting_since.user, abs=0.1)
        os.set_blocking(worker.said, False)
        with pytest.raises(BlockingIOError):
            os.read(worker.said, 1)
        os.set_blocking(worker.said, True)
        os.write(worker.go, b"\n")
        heard = worker.events_until(events.CellDone)
        assert heard[0] == events.Stage(name="prepare", cell=1)
        os.write(worker.go, b"\n")
        assert isinstance(worker.events_until(events.Closed)[-1], events.Closed)
        assert worker.process.wait(10) == 0


def test_it_ends_where_nobody_can_tell_it_to_go_on(tmp_path: Path) -> None:
    with child(job(tmp_path, {}, {"generate_length": 5})) as worker:
        worker.events_until(events.CellDone)
        os.close(worker.go)
        assert worker.process.wait(10) == 1
        assert worker.events_until(events.Closed) == [], "it neither goes on nor calls that a failure"


def test_it_ends_with_its_parents_end_of_standard_input(tmp_path: Path) -> None:
    with child(job(tmp_path, {}, faults=[{"at": "generate", "action": "hang"}])) as worker:
        worker.events_until(events.Prompted)
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(10) == -9


def test_a_failure_is_said_and_the_status_1(tmp_path: Path) -> None:
    with child(job(tmp_path, {}, faults=[{"at": "load", "action": "oom"}])) as worker:
        failed = worker.events_until(events.Failed)[-1]
        assert isinstance(failed, events.Failed)
        assert failed.outcome == "oom"
        assert failed.cause.message == "OutOfMemoryError: the fake device is full"
        assert worker.process.wait(10) == 1
