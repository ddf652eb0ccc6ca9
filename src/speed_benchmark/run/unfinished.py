"""What is finished of cells that need several processes, on disk in case this program is killed.

The folder `.unfinished` of a store holds a folder for each run that has such cells, locked as long as the run lives. In
it is a part for each of its cells: the record that it makes if it is interrupted now.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from speed_benchmark.files import sync_folder, write_whole
from speed_benchmark.judge.judge import judge
from speed_benchmark.record.format import DamagedRecordError, parse, seal, serialize
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store, StoreError

FOLDER = ".unfinished"
_SUFFIX = ".part"


class Unfinished:
    """The parts of one run; nothing is made on disk before the first one. Its lock dies with the process."""

    def __init__(self, store: Store) -> None:
        self._folder = store.folder / FOLDER / uuid4().hex
        self._lock: FileLock | None = None

    def keep(self, key: str, record: Record) -> None:
        """Write the part called `key` durably, in place of an older one. Raises StoreError where that fails."""
        try:
            if self._lock is None:
                self._lock = _make(self._folder)
            write_whole(self._path(key), serialize(seal(record)), replace=True, durable=True)
        except OSError as error:
            raise StoreError(f"{self._folder.parent} can't be written ({error.strerror})") from error

    def remove(self, key: str) -> None:
        """The record of its cell is stored."""
        self._path(key).unlink(missing_ok=True)

    def end(self) -> None:
        """The run is over; parts that became no record are left to the next one."""
        if self._lock is not None:
            _remove_empty(self._folder)
            self._lock.release()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"


def recover(store: Store) -> int:
    """Make records of the parts that killed runs have left in `store`; returns of how many."""
    folder = store.folder / FOLDER
    if not folder.is_dir():
        return 0
    with _held(folder):
        return sum(_recover(store, one) for one in folder.iterdir() if one.is_dir())


def _recover(store: Store, folder: Path) -> int:
    """The same for one run, unless it is alive."""
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return 0
    try:
        parts = dict(_parts(folder))
        known = _known(store, parts)
        for path, part in parts.items():
            if path not in known:
                store.write(part, judge(part).model_dump(mode="json"))
            path.unlink()
        _remove_empty(folder)
        return len(parts.keys() - known)
    finally:
        lock.release()


def _parts(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Those that are whole; a file that was being written when the run was killed is none."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(DamagedRecordError, OSError):
            yield path, parse(path.read_bytes())


def _known(store: Store, parts: dict[Path, Record]) -> set[Path]:
    """The parts whose samples are in a stored record: the run was killed when it had just written that."""
    by_cell = defaultdict(list)
    for path, part in parts.items():
        by_cell[part.cell_id].append((path, part))
    return {
        path
        for _, record in (store.records() if parts else ())
        if isinstance(record, Record)
        for path, part in by_cell.get(record.cell_id, ())
        if record.samples[: len(part.samples)] == part.samples
    }


def _make(folder: Path) -> FileLock:
    """The folder of this run, and its lock, held."""
    folder.parent.mkdir(exist_ok=True)
    with _held(folder.parent):
        folder.mkdir()
        lock = _lock(folder)
        lock.acquire(timeout=0)
    for one in (folder.parent, folder.parent.parent):
        sync_folder(one)
    return lock


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other runs from making and removing folders in `folder`."""
    with FileLock(folder / ".lock"):
        yield


def _lock(folder: Path) -> FileLock:
    """The lock of one run's folder, which several threads of that run may use."""
    return FileLock(folder / ".lock", thread_local=False)


def _remove_empty(folder: Path) -> None:
    """Remove a run's folder unless there are parts in it; its lock is held."""
    if not any(folder.glob(f"*{_SUFFIX}")):
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()
