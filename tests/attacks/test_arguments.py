"""Names that no file system takes, or that are no text, wherever the command line takes one: one line, no traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.shapes import TINY

pytestmark = pytest.mark.slow

CELL = ("--engine", "fake", "--context_length", "5", "--generate_length", "4", "--quiet")
NAMES: dict[str, str | bytes] = {
    "300": "x" * 300,
    "5000": "x" * 5000,
    "./300": f"./{'x' * 300}",
    "lines": "a\nb\x1b[2J",
    "bytes": b"\xff\xfe",
}
PLACES: dict[str, Sequence[str]] = {
    "model": ("plan", *CELL, "--weights", "synthetic", "--model_id_or_path"),
    "suite": ("plan", *CELL),
    "outputs_dir": ("plan", *CELL, "--model_id_or_path", "owner/name", "--outputs_dir"),
    "synthesize": ("synthesize",),
    "fits": ("fits",),
    "card": ("fits", "Qwen/Qwen3-8B", "--gpu"),
}


def ended(folder: Path, *arguments: str | bytes) -> tuple[int, list[str]]:
    """The exit status of a command in `folder`, and its lines on standard error."""
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "speed_benchmark", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.decode().splitlines()


@pytest.mark.attack("1.32")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_a_name_is_refused_in_one_line(tmp_path: Path, place: str, name: str) -> None:
    status, lines = ended(tmp_path, *PLACES[place], NAMES[name])
    if place == "outputs_dir":  # a plan writes nothing, and what is not there holds no records
        assert status in (0, 2)
        assert len(lines) <= 1
        return
    assert status == 2
    (line,) = lines
    assert line.startswith("error: ")
    assert line.isprintable()


@pytest.mark.attack("1.32")
@pytest.mark.parametrize("name", ["300", "5000"])
def test_made_up_weights_in_a_folder_that_can_not_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(TINY))
    status, lines = ended(tmp_path, "synthesize", "model", "--out", NAMES[name])
    assert status == 2
    (line,) = lines
    assert line.startswith("error: --out xxx")
    assert "File name too long" in line


@pytest.mark.slow
@pytest.mark.attack("1.32")
def test_a_long_name_is_asked_of_the_hub(tmp_path: Path) -> None:
    status, lines = ended(tmp_path, "run", *CELL, "--model_id_or_path", NAMES["300"])
    assert (status, lines) == (1, [])
    (record,) = (tmp_path / "outputs" / "fake").glob("*.json")
    assert json.loads(record.read_bytes())["outcome"] == "refused"


@pytest.mark.attack("1.32")
def test_a_folder_below_one_that_is_no_text(tmp_path: Path) -> None:
    below = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    (below / "model").mkdir(parents=True)
    (below / "model" / "config.json").write_text(json.dumps(TINY))
    status, lines = ended(below, "plan", *CELL, "--weights", "synthetic", "--model_id_or_path", "model")
    assert status == 2
    (line,) = lines
    assert line.startswith("error: --model_id_or_path ")
