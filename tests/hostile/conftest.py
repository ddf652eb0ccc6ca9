"""A machine with one model on it."""

import shutil
from pathlib import Path

import pytest

from speed_benchmark.models import synthetic
from tests.hostile.box import Box
from tests.shapes import TINY


@pytest.fixture(scope="session")
def honest_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.synthesize(TINY, {"do_sample": False}, tmp_path_factory.mktemp("honest") / "model")


@pytest.fixture
def box(tmp_path: Path, honest_model: Path, known_shapes: Path) -> Box:
    home = tmp_path / "home"
    shutil.copytree(known_shapes, home / "cache" / "speed-benchmark" / "shapes")
    return Box(home, shutil.copytree(honest_model, tmp_path / "model"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many kinds of harm were tried, and how many did none."""
    held, tried = (
        sum("hostile/" in report.nodeid for kind in kinds for report in terminalreporter.stats.get(kind, []))
        for kinds in (("passed",), ("passed", "failed", "error"))
    )
    if tried:
        terminalreporter.write_line(f"hostile: {tried} tried / {held} held")
