"""What is finished of cells that need several processes, on disk in case this program is killed.

The folder `.unfinished` of a store holds a folder for each run that has such cells, locked as long as the run lives. In
it is a part for each of its cells: the record that it makes if it is interrupted now.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

from speed_benchmark import files
from speed_benchmark.judge.judge import judge
from speed_benchmark.record.folder import read
from speed_benchmark.record.format import DamagedRecordError, seal, serialize
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store, StoreError

FOLDER = ".unfinished"
_SUFFIX = ".part"
# In the folder of all runs: who holds it makes and removes the folders of runs. In that of a run: it is alive.
_LOCK = ".lock"


class Unfinished:
    """The parts of one run; nothing is made on disk before the first one. Its lock dies with the process.

    Where there are no locks there are no parts: nobody could tell whether their run is alive.
    """

    def __init__(self, store: Store) -> None:
        self._folder = store.folder / FOLDER / uuid4().hex
        self._lock = ExitStack()
        self._is_locked: bool | None = None

    def keep(self, key: str, record: Record) -> None:
        """Write the part called `key` durably, in place of an older one. Raises StoreError where that fails."""
        try:
            if self._is_locked is None:
                self._is_locked = self._make()
            if self._is_locked:
                files.write_whole(self._path(key), serialize(seal(record)), replace=True, durable=True)
        except OSError as error:
            raise StoreError(f"{self._folder.parent} can't be written ({error.strerror})") from error

    def remove(self, key: str) -> None:
        """The record of its cell is stored."""
        with suppress(OSError):  # the next run sees that it is in a record
            self._path(key).unlink(missing_ok=True)

    def end(self) -> None:
        """The run is over; parts that became no record are left to the next one."""
        if self._is_locked is not None:
            with suppress(OSError):  # an empty folder is left to the next one too
                _remove_empty(self._folder)
        self._lock.close()

    def _make(self) -> bool:
        """Make the folder of this run, and hold its lock; says whether there is one."""
        parent = self._folder.parent
        parent.mkdir(exist_ok=True)
        with files.locked(parent / _LOCK, keep=True):
            try:
                self._folder.mkdir()
            except PermissionError:  # another user has made its parent
                return False
            refusal = self._lock.enter_context(files.locked(self._folder / _LOCK, keep=True))
        for one in (parent, parent.parent):
            files.sync_folder(one)
        return refusal is None

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"


def recover(store: Store) -> int:
    """Make records of the parts that killed runs have left in `store`; returns of how many."""
    folder, recovered = store.folder / FOLDER, 0
    runs = _runs(folder)
    if not runs:
        return 0
    with files.locked(folder / _LOCK, keep=True):
        for one in runs:
            with suppress(OSError):  # what can't be read or removed now is left to the next run
                recovered += _recover(store, one)
    return recovered


def _runs(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [one for one in folder.iterdir() if one.is_dir()]
    return []


def _recover(store: Store, folder: Path) -> int:
    """The same for one run. Raises BlockingIOError where it is alive; where nobody can tell, its parts stay."""
    with files.locked(folder / _LOCK, wait=False, keep=True) as refusal:
        if refusal:
            return 0
        parts = dict(_parts(folder))
        known = _known(store, parts)
        for path, part in parts.items():
            if path not in known:
                store.write(part, judge(part).model_dump(mode="json"))
            with suppress(OSError):  # one that can't be removed is known from now on
                path.unlink()
        _remove_empty(folder)
        return len(parts.keys() - known)


def _parts(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Those that are whole; a file that was being written when the run was killed is none."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(DamagedRecordError):
            yield path, read(path)


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


def _remove_empty(folder: Path) -> None:
    """Remove a run's folder unless there are parts in it; its lock is held."""
    if not any(folder.glob(f"*{_SUFFIX}")):
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()
