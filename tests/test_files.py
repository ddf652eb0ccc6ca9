"""Files that are written whole or not at all, and locks between processes."""

import errno
import fcntl
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from speed_benchmark import files

ANOTHER_USER = 12345


def test_a_file_is_written_whole_and_its_name_is_not_taken_twice(tmp_path: Path) -> None:
    file = tmp_path / "file"
    files.write_whole(file, b"one", durable=True)
    assert file.stat().st_mode & 0o777 == 0o644
    with pytest.raises(FileExistsError):
        files.write_whole(file, b"two")
    assert file.read_bytes() == b"one"
    files.write_whole(file, b"three", replace=True)
    assert file.read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [file]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    files.write_cache(tmp_path / "file" / "entry", b"")
    files.write_cache(tmp_path / "new" / "entry", b"kept")
    assert (tmp_path / "new" / "entry").read_bytes() == b"kept"


def test_a_lock_is_removed_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with pytest.raises(FileNotFoundError), files.locked(lock):
        (tmp_path / "gone").read_bytes()
    assert not lock.exists()


HOLD = """
import os, signal, sys
from pathlib import Path
from speed_benchmark import files
with files.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["end", "die"])
def test_a_lock_is_held_until_its_process_ends(tmp_path: Path, how: str) -> None:
    lock = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(lock), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BlockingIOError), files.locked(lock, wait=False):
            pytest.fail("it is held")
        holder.communicate()
    assert lock.exists() == (how == "die")
    with files.locked(lock, wait=False):
        pass
    assert list(tmp_path.iterdir()) == []


ADD = """
import sys, time
from pathlib import Path
from speed_benchmark import files
folder = Path(sys.argv[1])
for _ in range(10):
    with files.locked(folder / "lock"):
        count = int((folder / "count").read_text())
        time.sleep(0.002)
        (folder / "count").write_text(str(count + 1))
"""


def test_one_process_at_a_time_though_the_lock_comes_and_goes(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    adders = [subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path)]) for _ in range(4)]
    assert [adder.wait(120) for adder in adders] == [0] * 4
    assert (tmp_path / "count").read_text() == "40"
    assert [file.name for file in tmp_path.iterdir()] == ["count"]


@pytest.mark.attack("1.9")
@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EIO"])
@pytest.mark.parametrize("wait", [True, False])
def test_why_there_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, *, wait: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, error), "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.locked(tmp_path / "lock", wait=wait) as refusal:
        assert refusal is not None
        assert refusal.errno == getattr(errno, error)


@pytest.mark.attack("1.9")
def test_a_lock_where_nothing_can_be_made(tmp_path: Path) -> None:
    with files.locked(tmp_path / "missing" / "lock") as refusal:
        assert isinstance(refusal, FileNotFoundError)
    with pytest.raises(ZeroDivisionError), files.locked(tmp_path / "missing" / "lock"):
        _ = 1 / 0


def test_a_pipe_in_place_of_a_lock_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with files.locked(tmp_path / "lock", wait=False):
        pass


def test_a_lock_that_is_kept_can_be_taken_again(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        for _ in range(2):
            with files.locked(tmp_path / "lock", wait=False, keep=True) as refusal:
                assert refusal is None
    finally:
        os.umask(before)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o664, "for others of the group too"


@pytest.mark.attack("1.24")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("mode", "held", "found"), [
    (0o600, False, "Permission denied"),
    (0o644, False, "None"),
    (0o644, True, "another process"),
])  # fmt: skip
def test_the_lock_of_another_user(tmp_path: Path, mode: int, found: str, *, held: bool) -> None:
    """One that can only be read is as good as any."""
    lock = tmp_path / "lock"
    tmp_path.chmod(0o755)
    with files.locked(lock, keep=True):
        lock.chmod(mode)
        if held:
            assert seen_by_another_user(lock) == found
    if not held:
        assert seen_by_another_user(lock) == found


def seen_by_another_user(lock: Path) -> str:
    """What `files.locked` says of `lock` to another user."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        try:
            os.chdir(lock.parent)
            os.setgroups([])
            os.setgid(ANOTHER_USER)
            os.setuid(ANOTHER_USER)
            with files.locked(Path(lock.name), wait=False, keep=True) as refusal:
                os.write(write_end, str(refusal and refusal.strerror).encode())
        except BlockingIOError:
            os.write(write_end, b"another process")
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, encoding="utf-8") as told:  # noqa: PTH123 - a descriptor
        found = told.read()
    os.wait()
    return found


@pytest.mark.attack("1.22")
def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_user: int) -> None:
        raise KeyError

    for variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    entry = files.cache_folder("peaks") / "entry"
    files.write_cache(entry, b"kept")
    assert not entry.exists()
    with pytest.raises(OSError, match="Not a directory"):
        entry.read_bytes()


def test_a_file_with_the_longest_name_is_written(tmp_path: Path) -> None:
    file = tmp_path / ("n" * 255)
    files.write_whole(file, b"whole", durable=True)
    assert file.read_bytes() == b"whole"
