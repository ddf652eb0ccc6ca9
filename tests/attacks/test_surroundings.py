"""The whole command where the system around it lacks something: locks, a home, places to write, plain names."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.models import synthetic
from speed_benchmark.record.store import Store
from speed_benchmark.run.original import row
from tests.faults.sweeps import Ran, arguments, make_model, run, stored
from tests.run import made
from tests.shapes import TINY

REFUSE_LOCKS = """
import errno, fcntl, os
def flock(*_):
    raise OSError(getattr(errno, {error!r}), os.strerror(getattr(errno, {error!r})))
fcntl.flock = flock
"""
NAMELESS = (
    *("setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"),
    *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override", "env", "-i", f"PATH={os.environ['PATH']}"),
)
# All file systems are read-only but for the folder that is the first argument; then the rest is run.
READ_ONLY = """
mount --make-rprivate / && mount --bind "$1" "$1" || exit 77
awk '{print $2}' /proc/mounts | while read -r place; do
    case "$place" in "$1" | /proc* | /sys*) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null ;; esac
done
touch /tmp/writable 2>/dev/null && exit 77
shift && cd / && exec "$@"
"""
NOT_HERE = 77


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "m")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "speed_benchmark", *map(str, words)]


def check(ran: Ran, cells: int, *, warned: str = "") -> None:
    """It measured so many cells, without a word but the warning."""
    assert ran.status == 0, ran.stderr
    assert (len(ran.records), len(ran.damaged)) == (cells, 0)
    assert [warned in line for line in ran.stderr.splitlines()] == [True] * bool(warned), ran.stderr


def sweep(model: Path, out: Path, *more: object, **environment: str) -> Ran:
    return run(arguments([model], out, "--quiet", *more, lengths="5"), out, 60, **environment)


@pytest.mark.engine
@pytest.mark.attack("1.9")
@pytest.mark.parametrize(("error", "says"), [("ENOLCK", "No locks available"), ("EOPNOTSUPP", "not supported")])
def test_a_file_system_without_locks(tmp_path: Path, model: Path, out: Path, error: str, says: str) -> None:
    """Also for cells of several processes, whose parts are locked."""
    (tmp_path / "sitecustomize.py").write_text(REFUSE_LOCKS.format(error=error))
    check(sweep(model, out, "--processes", 2, PYTHONPATH=str(tmp_path)), 1, warned=says)


@pytest.mark.attack("1.9")
def test_made_up_weights_in_a_cache_without_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are made all the same, and what another process may be making is left alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = synthetic.cache_folder(TINY, {})
    others = [folder.with_name(f".{name}.partial") for name in (folder.name, "another")]
    for other in others:
        other.mkdir(parents=True)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert synthetic.cached(TINY, {}) == folder
    assert synthetic.is_cached(TINY, {})
    assert sorted(path for path in folder.parent.iterdir() if path.is_dir()) == sorted([folder, *others])


@pytest.mark.engine
@pytest.mark.attack("1.24")
def test_a_lock_that_cannot_be_opened(model: Path, out: Path) -> None:
    (out / ".lock").mkdir(parents=True)
    check(sweep(model, out), 1, warned="Is a directory")


@pytest.mark.engine
@pytest.mark.attack("1.18")
def test_renamed_records_get_no_further_rows(model: Path, out: Path) -> None:
    store = Store(out, row)
    store.open()
    cell = replace(made.cell(), settings=EngineSettings(engine="transformers"))
    for number in range(2):
        _, path = store.write(made.record(replace(cell, workload=replace(cell.workload, seed=number))))
        path.rename(out / f"baseline-{number}.json")
    before = sorted(out.glob("*.csv"))
    assert len(before) == 2
    for _ in range(3):
        assert sweep(model, out).status == 0
    assert sorted(out.glob("*.csv")) == before


@pytest.mark.engine
@pytest.mark.attack("1.25")
def test_a_model_whose_name_is_as_long_as_names_can_be(tmp_path: Path, out: Path) -> None:
    check(sweep(make_model(tmp_path / ("模" * 85)), out), 1)


@pytest.mark.engine
@pytest.mark.attack("1.26")
def test_an_output_folder_that_is_not_utf_8(tmp_path: Path, model: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff\n\x1b[2Jout")
    ran = sweep(model, out)
    check(ran, 1)
    assert any("\\xff" in word for word in ran.records[0].provenance.command)
    for words in (("report", out), ("verify", out), ("plan", *arguments([model], out)[1:])):
        done = subprocess.run(command(*words), capture_output=True, check=False, timeout=60, cwd=tmp_path)
        assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0), done.stderr


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.attack("1.22")
def test_no_home_and_a_user_without_a_name(tmp_path: Path, model: Path, out: Path) -> None:
    out.mkdir()
    out.chmod(0o777)
    tmp_path.chmod(0o755)
    if not shutil.which("setpriv") or subprocess.run([*NAMELESS, sys.executable, "-c", ""], check=False).returncode:
        pytest.skip("no other user can be become here")
    pytest.importorskip("torch")  # for the peaks that `machine` measures
    flags = arguments([model], Path("out"), lengths="5")[1:]
    for words in (("run", *flags), ("plan", *flags), ("machine",), ("report", "out"), ("verify", "out")):
        done = subprocess.run(
            [*NAMELESS, *command(*words)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
    assert len(stored(Ran(0, "", 0.0), out).records) == 1


@pytest.mark.engine
@pytest.mark.attack("1.23")
def test_only_the_output_folder_can_be_written(model: Path, out: Path) -> None:
    out.mkdir()
    words = arguments([model], out, "--quiet", "--processes", 2, lengths="5")
    environment = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "TEMP", "TMP")}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(out), *command(*words)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode == NOT_HERE or "unshare failed" in done.stderr:
        pytest.skip("file systems can't be mounted here")
    check(stored(Ran(done.returncode, done.stderr, 0.0), out), 1)
