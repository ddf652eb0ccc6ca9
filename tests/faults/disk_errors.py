"""A program: a sweep whose disk answers one file operation with an error. Prints its counts as JSON.

    disk_errors.py FOLDER FIRST STEP [ERROR …]

Each operation of the store and of unfinished parts fails in turn, from the one numbered FIRST in steps of STEP, with
each ERROR (ENOSPC, EIO, …; without any, with one after the other): in an empty folder, and in one where a run was
killed that had finished a part. The command must go on or say in a line why not, damage nothing, and do the rest when
it is given again.
"""

import errno
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.record.record import Record
from speed_benchmark.run.unfinished import Unfinished
from tests.faults.kill_lane import Sweep

ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES")
# Of these modules pathlib, tempfile and shutil take what they call.
_CALLS = {
    os: ("open", "mkdir", "stat", "fsync", "link", "unlink", "replace", "rmdir", "scandir", "listdir", "statvfs"),
    fcntl: ("flock",),
    io: ("open",),
}


class FailingDisk:
    """The file operations below `folder` counted, of which the one numbered `fails` ends in an error."""

    def __init__(self, folder: Path, fails: int, error: str) -> None:
        self._folder, self._fails, self._number = str(folder), fails, getattr(errno, error)
        self._done = 0

    def install(self) -> None:
        """Let this process work on it."""
        for module, names in _CALLS.items():
            for name in names:
                setattr(module, name, self._counted(getattr(module, name)))
        fdopen = os.fdopen
        os.fdopen = lambda descriptor, *mode: _File(self, fdopen(descriptor, *mode))  # type: ignore[assignment]

    def fail(self, file: int | str | os.PathLike[str]) -> None:
        """Count an operation on `file`; raise where it is its turn."""
        if self._is_below(file):
            self._done += 1
            if self._done == self._fails + 1:
                (Path(self._folder).parent / "failed").touch()
                raise OSError(self._number, os.strerror(self._number), str(file))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(file: Any = ".", *more: Any, **options: Any) -> Any:
            self.fail(file)
            return call(file, *more, **options)

        return counted

    def _is_below(self, file: int | str | os.PathLike[str]) -> bool:
        try:
            path = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else os.path.abspath(os.fspath(file))  # noqa: PTH100, PTH115 - Path's are counted
        except OSError:
            return False
        return f"{path}/".startswith(f"{self._folder}/")


class _File:
    """What `os.fdopen` gives: each write can fail, and the flush."""

    def __init__(self, disk: FailingDisk, file: Any) -> None:
        self._disk, self._file = disk, file

    def write(self, content: bytes) -> None:
        self._disk.fail(self._file.fileno())
        self._file.write(content)

    def flush(self) -> None:
        self._disk.fail(self._file.fileno())
        self._file.flush()

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def leave_a_part(sweep: Sweep) -> None:
    """Kill a run when it has written what the first of two processes finished."""

    def die_after_a_part() -> None:
        keep = Unfinished.keep

        def keep_and_die(unfinished: Unfinished, key: str, record: Record) -> None:
            keep(unfinished, key, record)
            os.kill(os.getpid(), signal.SIGKILL)

        pytest.MonkeyPatch().setattr(Unfinished, "keep", keep_and_die)

    os.waitpid(sweep.start(die_after_a_part), 0)


def at_each_operation(folder: Path, first: int, step: int, errors: list[str], *, left: bool) -> Counter[str]:
    """Let each operation fail; `left` says whether a killed run has left something."""
    counts, number = Counter[str](), first
    sweep = Sweep(folder, models=1, lengths="5", processes=2)
    start_from = folder / "start"
    sweep.out = start_from
    if left:
        leave_a_part(sweep)
    while True:
        for error in errors or [ERRORS[number // step % len(ERRORS)]]:
            out, name = folder / f"{number}-{error}", f"operation {number}, {error}"
            if left:
                shutil.copytree(start_from, out)
            sweep.out, sweep.seen, sweep.parts = out, set(), []
            if not _fails(sweep, number, error, counts, name):
                return counts  # that many operations there are not
            shutil.rmtree(out)
        number += step


def _fails(sweep: Sweep, number: int, error: str, counts: Counter[str], name: str) -> bool:
    """Run it with this error, and once more without; says whether the error came."""
    log, failed = sweep.folder / "log", sweep.folder / "failed"
    log.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    _, status = os.waitpid(sweep.start(FailingDisk(sweep.out, number, error).install), 0)
    if not failed.exists():
        return False
    before = counts.copy()
    said, code = log.read_text() or "nothing", os.waitstatus_to_exitcode(status)
    counts["injected"] += 1
    counts["ended otherwise"] += code not in (0, 1, 2)
    counts["not said"] += code != 0 and os.strerror(getattr(errno, error)) not in said.splitlines()[-1]
    counts["tracebacks"] += "Traceback" in said
    if sweep.out.exists():
        sweep.look(counts)
    sweep.finish(counts)
    worse = {what: count - before[what] for what, count in counts.items() if what not in ("injected", "parts")}
    if any(worse.values()):
        print(name, {what: count for what, count in worse.items() if count}, code, said[-1500:], file=sys.stderr)  # noqa: T201
    else:
        counts["met"] += 1
    return True


def in_lanes(folder: Path, lanes: int, step: int, errors: Sequence[str] = ()) -> Counter[str]:
    """What `lanes` of these programs count, which share the operations in steps of `step`."""
    running = []
    for lane in range(lanes):
        place = folder / str(lane)
        place.mkdir()
        words = [place, lane * step, lanes * step, *errors]
        command = [sys.executable, "-m", "tests.faults.disk_errors", *map(str, words)]
        environment = os.environ | {"TMPDIR": str(place)}  # for records that the store did not take
        root = Path(__file__).parents[2]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment))
    total = Counter[str]()
    for process in running:
        output, _ = process.communicate()
        total.update(json.loads(output))
    return total


if __name__ == "__main__":
    where, start, stride, *some = sys.argv[1:]
    total = Counter[str]()
    for is_left in (False, True):
        place = Path(where) / str(is_left)
        place.mkdir(parents=True)
        total += at_each_operation(place, int(start), int(stride), some, left=is_left)
    print(json.dumps(total))  # noqa: T201
