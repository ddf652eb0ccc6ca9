"""Standard output and standard error that show little, or take nothing more."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from speed_benchmark.record.format import parse
from speed_benchmark.record.store import Store
from tests.faults.sweeps import arguments, make_model
from tests.report.made import golden

Command = Callable[..., CompletedProcess[str]]
ASCII = ({"PYTHONUTF8": "0", "LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "ascii"})


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("records"))
    for one in golden()[-4:]:
        store.write(one)
    return store.folder


def piped(command: Sequence[object], *, out: int = subprocess.PIPE, err: int = subprocess.PIPE) -> tuple[int, str, str]:
    """Run a command with these streams; gives its status and what came."""
    done = subprocess.run(
        [sys.executable, "-m", "speed_benchmark", *map(str, command)],
        stdout=out,
        stderr=err,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout or "", done.stderr or ""


def closed() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.slow
@pytest.mark.attack("1.33")
@pytest.mark.parametrize("environment", ASCII)
def test_a_terminal_of_ascii_is_shown_the_report(records: Path, command: Command, environment: dict[str, str]) -> None:
    for language in ("en", "zh"):
        done = command("report", records, "--lang", language, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()
        assert "290.13" in done.stdout


@pytest.mark.engine
@pytest.mark.attack("1.33")
def test_a_terminal_of_ascii_is_shown_a_run(command: Command, tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "模型"), tmp_path / "out"
    done = command(*arguments([model], out, lengths="5"), **ASCII[1])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert len(list(out.glob("*.json"))) == 1


@pytest.mark.slow
@pytest.mark.attack("1.33")
@pytest.mark.parametrize("form", ["text", "csv", "jsonl", "parquet"])
def test_a_reader_that_has_gone_is_no_error(records: Path, form: str) -> None:
    assert piped(("report", records, "--format", form), out=closed()) == (141, "", "")


@pytest.mark.slow
@pytest.mark.attack("1.33")
def test_no_verdict_is_made_of_a_reader_that_has_gone(records: Path) -> None:
    for command in (("verify", records), ("gate", records, "--baseline", records)):
        assert piped(command, out=closed()) == (141, "", "")


@pytest.mark.slow
@pytest.mark.attack("1.33")
@pytest.mark.parametrize("form", ["text", "csv", "parquet"])
def test_output_on_a_full_disk_is_one_line(records: Path, form: str) -> None:
    with Path("/dev/full").open("wb") as full:
        status, _, err = piped(("report", records, "--format", form), out=full.fileno())
    assert (status, err) == (2, "error: standard output can't be written (No space left on device)\n")


@pytest.mark.engine
@pytest.mark.attack("1.33")
def test_a_sweep_goes_on_without_standard_error(tmp_path: Path) -> None:
    """A log that nobody reads any more ended it."""
    model, out = make_model(tmp_path / "m"), tmp_path / "out"
    status, shown, _ = piped(arguments([model], out), err=closed())
    assert status == 0
    assert "Verdict" in shown
    assert len([parse(path.read_bytes()) for path in out.glob("*.json")]) == 2
