"""Models that tests make, and the command line run as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.models.synthetic import synthesize
from tests.shapes import GENERATION, TINY

# A shell starts what runs in the background deaf to Ctrl-C, and children inherit that: the tests send it to them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small model, for tests that leave it as it is."""
    return synthesize(TINY, GENERATION, tmp_path_factory.mktemp("tiny") / "tiny")


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
