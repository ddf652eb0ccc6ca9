"""Files that are written whole or not at all, and locks between processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from speed_benchmark import files


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
