"""How many faults were injected, and how many were met."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.tallies import Tally, counts


@pytest.fixture
def tally() -> Tally:
    """Counts what is injected inside it, and as met what gets through it."""

    @contextmanager
    def count(name: str) -> Iterator[None]:
        met_injected = counts.setdefault(name, [0, 0])
        met_injected[1] += 1
        yield
        met_injected[0] += 1

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, (met, injected) in counts.items():
        terminalreporter.write_line(f"{name}: {met} met of {injected} injected")
