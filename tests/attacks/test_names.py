"""Paths that no file system takes, or no encoding."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from speed_benchmark.errors import UserError
from speed_benchmark.judge.verify import verify
from speed_benchmark.record.store import Store
from speed_benchmark.report.gather import Gathering
from tests.report.made import golden

Command = Callable[..., CompletedProcess[str]]
NAMES = {"long": "a" * 300, "of two lines": "a\n\x1b[2Jb", "not UTF-8": "\udcff"}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    store = Store(tmp_path / "records")
    store.open()
    store.write(golden()[0])
    return store.folder


@pytest.mark.slow
@pytest.mark.attack("1.32")
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("arguments", ["report {}", "verify {}", "gate . --baseline {}"])
def test_a_folder_that_is_not_there_is_one_line(command: Command, name: str, arguments: str, tmp_path: Path) -> None:
    done = command(*(part.format(tmp_path / name) for part in arguments.split()))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr[:-1].isprintable()


@pytest.mark.attack("1.32")
@pytest.mark.parametrize("name", [*NAMES.values(), "a\0b"], ids=[*NAMES, "NUL"])
def test_a_path_that_no_system_has_is_the_users_mistake(name: str, tmp_path: Path) -> None:
    for use in (lambda path: Gathering("PATH", [path]), lambda path: list(verify([path]))):
        with pytest.raises(UserError, match="no such"):
            use(tmp_path / name)


@pytest.mark.slow
@pytest.mark.attack("1.32")
@pytest.mark.parametrize("option", ["--out", "--plots"])
def test_what_can_not_be_written_is_one_line(command: Command, records: Path, option: str, tmp_path: Path) -> None:
    done = command("report", records, option, tmp_path / NAMES["long"])
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {option} ")
    assert done.stderr.endswith(
        f"can't be written (File name too long); name another {'file' if option == '--out' else 'folder'}\n"
    )
    for name in (NAMES["of two lines"], NAMES["not UTF-8"]):
        assert command("report", records, "--format", "csv", "--out", tmp_path / name).returncode == 0
        assert (tmp_path / name).is_file()
