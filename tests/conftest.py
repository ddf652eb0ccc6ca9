"""Models that tests make, and the command line run as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark import files
from speed_benchmark.models.shapes.asked import shapes
from speed_benchmark.models.synthetic import synthesize
from tests.attacks.rows import ROWS
from tests.shapes import GENERATION, TINY, tiny

# A shell starts what runs in the background deaf to Ctrl-C, and children inherit that: the tests send it to them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small model, for tests that leave it as it is."""
    return synthesize(TINY, GENERATION, tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def known_shapes() -> Path:
    """The folder of shapes that were asked for, those of the small model among them, which takes seconds."""
    shapes([tiny(suffix) for suffix in ("", "-GPTQ-Int4", "-GPTQ-Int8", "-AWQ")])
    return files.cache_folder("shapes")


@pytest.fixture
def own_cache(tmp_path: Path, known_shapes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds nothing but known shapes."""
    cache = tmp_path / "cache"
    shutil.copytree(known_shapes, cache / "speed-benchmark" / "shapes")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


@pytest.fixture
def fake_model(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    """Makes a model folder whose fake.json is the given script of the fake engine."""

    def make(name: str = "tiny", **script: Any) -> Path:
        folder: Path = shutil.copytree(tiny_model, tmp_path / name)
        (folder / "fake.json").write_text(json.dumps(script))
        return folder

    return make


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `speed-benchmark` with the given arguments in an empty folder, without a terminal."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "speed_benchmark", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "160"} | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note in the report of a test which attacks it shows to be met; the report also reaches another process."""
    report = yield
    report.user_properties += [("attack", number) for mark in item.iter_markers("attack") for number in mark.args]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many attacks were tried, and how many met by all tests that carry their number."""
    tried: dict[object, bool] = {}
    for kind in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(kind, []):
            for name, number in report.user_properties:
                if name == "attack":
                    tried[number] = tried.get(number, True) and kind == "passed"
    if tried:
        terminalreporter.write_line(f"attacks: {sum(tried.values())} met of {len(tried)}, of {len(ROWS)} known")
