"""What is kept of what a worker prints: little, and no secret."""

import os
import subprocess
import sys
import time

import pytest

from speed_benchmark.run.log import LINES, LONGEST_LINE, Log


def printed(program: str) -> Log:
    """The log of a Python program that has ended."""
    log = Log()
    subprocess.run([sys.executable, "-c", program], stdout=log.write, check=True)
    os.close(log.write)
    return log


def test_the_last_lines_are_kept() -> None:
    log = printed("for number in range(1000): print('line', number)")
    assert log.last_lines() == tuple(f"line {number}" for number in range(1000 - LINES, 1000))


def test_an_end_without_a_newline_and_progress_bars() -> None:
    assert printed("print('10%\\r20%\\r\\n\\n\\nlast', end='')").last_lines() == ("10%", "20%", "last")
    assert printed("").last_lines() == ()


@pytest.mark.attack("1.21")
def test_a_long_line_is_cut() -> None:
    log = printed("print('first'); print(65_536 * 'é'); print('last')")
    assert log.last_lines() == ("first", LONGEST_LINE * "é", "last")


@pytest.mark.slow
@pytest.mark.attack("1.21")
def test_output_without_end_takes_no_memory() -> None:
    log = printed("import sys\nfor _ in range(100): sys.stdout.write(1_000_000 * 'x')")
    log.last_lines()
    assert sum(map(len, log._lines)) < 10_000
    log = printed("for _ in range(300): print(100_000 * 'x')")
    log.last_lines()
    assert sum(map(len, log._lines)) < LINES * 10_000


@pytest.mark.attack("2.2")
def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that would be cut in two where the line is cut."""
    monkeypatch.setenv("HUB_TOKEN", "a-token-that-nobody-may-see")
    for before in (0, LONGEST_LINE - 5):
        text = " ".join(printed(f"print({before} * 'x' + ' a-token-that-nobody-may-see')").last_lines())
        assert "token" not in text
        assert "a-t" not in text


def test_a_process_that_keeps_the_pipe_open_is_not_waited_for() -> None:
    log = Log()
    with subprocess.Popen([sys.executable, "-c", "print('line', flush=True); input()"], stdout=log.write,
                          stdin=subprocess.PIPE) as process:  # fmt: skip
        while not log._lines:
            time.sleep(0.01)
        started = time.monotonic()
        assert log.last_lines() == ("line",)
        assert time.monotonic() - started < 3
        process.kill()
    os.close(log.write)
