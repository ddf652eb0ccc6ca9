"""Parts of cells that need several processes, and what becomes of them when their run is killed."""

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from speed_benchmark.judge.judge import judge
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store, StoreError
from speed_benchmark.run.unfinished import FOLDER, Unfinished, recover
from tests.run import made

pytestmark = pytest.mark.engine

ANOTHER_USER = 12345


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def part(length: int = 5, samples: int = 2) -> Record:
    record = made.record(made.cell(length, processes=3), Outcome.INTERRUPTED)
    cause = Cause(message=f"interrupted after {samples} requests")
    return record.model_copy(update={"samples": record.samples[:samples], "cause": cause})


def killed(store: Store, *parts: Record) -> None:
    """A run in another process that is killed after it has written `parts`."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from speed_benchmark.record.format import parse; from speed_benchmark.record.store import Store\n"
        "from speed_benchmark.run.unfinished import Unfinished\n"
        "unfinished = Unfinished(Store(Path(sys.argv[1])))\n"
        "for number, name in enumerate(sys.argv[2:]): unfinished.keep(str(number), parse(Path(name).read_bytes()))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    source = Store(store.folder.with_name(store.folder.name + "-source"))
    source.folder.mkdir(exist_ok=True)
    names = [str(source.write(one)[1]) for one in parts]
    done = subprocess.run([sys.executable, "-c", program, str(store.folder), *names], timeout=60, check=False)
    assert done.returncode == -9


def records(store: Store) -> list[Record]:
    return [record for _, record in store.records() if isinstance(record, Record)]


def test_parts_of_a_killed_run_become_records(store: Store) -> None:
    killed(store, part(5), part(6))
    assert records(store) == [], "a part is no record"
    assert recover(store) == 2
    assert [len(record.samples) for record in records(store)] == [2, 2]
    assert {record.outcome for record in records(store)} == {Outcome.INTERRUPTED}
    assert recover(store) == 0
    assert [path.name for path in (store.folder / FOLDER).iterdir()] == [".lock"]


def test_a_later_part_replaces_an_earlier_one(store: Store) -> None:
    unfinished = Unfinished(store)
    for samples in (1, 2):
        unfinished.keep("a", part(samples=samples))
    unfinished.end()
    assert recover(store) == 1
    assert [len(record.samples) for record in records(store)] == [2]


def test_a_run_that_is_alive_keeps_its_parts(store: Store) -> None:
    unfinished = Unfinished(store)
    unfinished.keep("a", part())
    assert recover(store) == 0
    unfinished.remove("a")
    unfinished.end()
    assert recover(store) == 0
    assert records(store) == []


def test_what_is_in_a_record_is_not_stored_again(store: Store) -> None:
    """The run was killed between writing the record and removing the part."""
    whole = made.record(made.cell(processes=3))
    store.write(whole)
    killed(store, part(samples=1))
    assert recover(store) == 0
    assert len(records(store)) == 1
    assert not list((store.folder / FOLDER).rglob("*.part"))


def test_a_part_that_was_being_written_is_passed_over(store: Store) -> None:
    killed(store, part(5), part(6))
    first, _ = sorted((store.folder / FOLDER).rglob("*.part"))
    first.write_bytes(first.read_bytes()[:100])
    assert recover(store) == 1


@pytest.mark.attack("1.11")
def test_a_pipe_among_the_parts_is_not_waited_for(store: Store) -> None:
    killed(store, part(5))
    (one,) = (store.folder / FOLDER).rglob("*.part")
    os.mkfifo(one.with_name("pipe.part"))
    assert recover(store) == 1


def test_nothing_is_made_before_the_first_part(store: Store) -> None:
    unfinished = Unfinished(store)
    unfinished.remove("a")
    unfinished.end()
    assert list(store.folder.iterdir()) == []
    assert recover(store) == 0


def test_a_folder_that_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't be written"):
        Unfinished(Store(tmp_path / "file")).keep("a", part())


def refuse_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.attack("1.9")
def test_without_locks_there_are_no_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch)
    unfinished = Unfinished(store)
    for key in ("a", "b"):
        unfinished.keep(key, part())
        assert not list(store.folder.rglob("*.part"))
    unfinished.remove("a")
    unfinished.end()
    assert [path.name for path in (store.folder / FOLDER).iterdir()] == [".lock"]


@pytest.mark.attack("1.9")
def test_without_locks_nobody_takes_the_parts_of_a_run_that_may_be_alive(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(store, part())
    with monkeypatch.context() as patch:
        refuse_locks(patch)
        assert recover(store) == 0
    assert recover(store) == 1, "they are there once locks work"


def test_a_run_that_is_alive_does_not_hide_one_that_was_killed(store: Store) -> None:
    alive = [Unfinished(store) for _ in range(3)]
    for one in alive:
        one.keep("a", part())
    killed(store, part(6))
    assert recover(store) == 1
    for one in alive:
        one.end()


@pytest.mark.attack("1.24")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_shared_with_another_user() -> None:
    """What one left the other recovers, once; where one has made the folder of parts, the other has none."""
    with tempfile.TemporaryDirectory() as name:  # the folders of pytest are for one user
        Path(name).chmod(0o755)
        store = Store(Path(name, "out"))
        store.open()
        store.folder.chmod(0o777)
        killed(store, part())
        judge(part())  # imported now: another user may not reach what this one has installed
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgid(ANOTHER_USER)
                os.setuid(ANOTHER_USER)
                unfinished = Unfinished(store)
                unfinished.keep("a", part())
                unfinished.end()
                status = 10 * recover(store) + recover(store)
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10
        assert len(list(store.folder.rglob("*.part"))) == 1
        assert recover(store) == 0
        assert not list(store.folder.rglob("*.part"))
