"""What signals do to a program, in this process and in one of its own: the first one counts, none makes a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from speed_benchmark.run.interrupt import Interrupt, Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """What was asked of this process stays its own."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "now"), [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGHUP, True)])
def test_what_a_signal_asks_for(number: signal.Signals, *, now: bool) -> None:
    with Interrupt() as interrupt:
        assert not interrupt.soon
        send(number)
        assert (interrupt.soon, interrupt.now) == (True, now)


@pytest.mark.attack("1.35")
def test_where_there_is_no_repeat_to_finish_the_first_one_raises() -> None:
    """And only that one, so that what is cleaned up on the way out is."""
    cleaned = 0

    def stop() -> None:
        nonlocal cleaned
        try:
            send(signal.SIGTERM)
        finally:
            send(*SIGNALS, *SIGNALS)
            cleaned += 1

    with Interrupt() as interrupt:
        with pytest.raises(Stopped), interrupt.abrupt():
            stop()
        send(*SIGNALS)
        with pytest.raises(Stopped), interrupt.abrupt():
            stop()
    send(*SIGNALS)
    assert cleaned == 1


@pytest.mark.attack("1.35")
def test_elsewhere_none_raises() -> None:
    with Interrupt() as interrupt:
        send(*SIGNALS * 3)
    send(*SIGNALS)
    assert interrupt.now


def test_without_a_signal_the_handlers_are_what_they_were() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupt() as interrupt:
        interrupt.stop()
    assert [signal.getsignal(number) for number in SIGNALS] == before


PROGRAM = """
import atexit, os, signal, sys
from speed_benchmark.run.interrupt import stoppable

def send():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) * 2:
        os.kill(os.getpid(), number)

class Finalizer:
    def __del__(self):
        send()

"""


@pytest.mark.attack("1.35")
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("send()", 130),
        ("pass", 0),
        ("try:\n  send()\n finally:\n  send()", 130),
        ("Finalizer()", 130),
        ("atexit.register(send)", 0),
        ("raise SystemExit(3)", 3),
    ],
    ids=["at_work", "not_at_all", "on_the_way_out", "in_a_finalizer", "at_exit", "ends_itself"],
)
def test_a_program_ends_in_one_line(command: str, status: int) -> None:
    program = f"{PROGRAM}\ndef command():\n {command}\n return 0\n\nsys.exit(stoppable(command))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr == ("interrupted\n" if status == 130 else "")


@pytest.mark.attack("1.10")
@pytest.mark.parametrize("number", SIGNALS)
def test_what_was_ignored_at_the_start_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    program = (
        f"{PROGRAM}\n"
        f"def command(): os.kill(os.getpid(), {int(number)}); return 7\n"
        "sys.exit(stoppable(command))"
    )  # fmt: skip
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7
    with Interrupt() as interrupt:
        send(number)
    assert not interrupt.soon
