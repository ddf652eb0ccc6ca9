"""What a worker leaves behind is found by its mark, wherever it has gone."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from speed_benchmark.worker import orphans

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process with the mark of another worker."""
    with subprocess.Popen(SLEEP, env=os.environ | {orphans.VARIABLE: orphans.new_mark()}) as process:
        yield process
        process.kill()


def test_a_process_in_a_session_of_its_own_is_ended(stranger: "subprocess.Popen[bytes]") -> None:
    mark = orphans.new_mark()
    environment = os.environ | {orphans.VARIABLE: mark}
    with subprocess.Popen(SLEEP, env=environment, start_new_session=True) as left:
        while left.pid not in orphans._marked(mark):  # until it has become what it is to run
            time.sleep(0.01)
        orphans.end(mark)
        assert left.wait(5) == -9
    assert stranger.poll() is None


def test_nothing_is_ended_for_a_mark_that_none_has(stranger: "subprocess.Popen[bytes]") -> None:
    started = time.monotonic()
    orphans.end(orphans.new_mark())
    assert stranger.poll() is None
    assert time.monotonic() - started < 2
