"""Records on disk: plain files, each written whole or not at all, that merge by copying."""

import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from speed_benchmark import files
from speed_benchmark.errors import UserError
from speed_benchmark.record import folder
from speed_benchmark.record.format import DamagedRecordError, seal, serialize
from speed_benchmark.record.record import Record
from speed_benchmark.record.row import csv_text
from speed_benchmark.terminal import one_line

ROOM_BYTES = 64 * 2**20
ABANDONED_S = 60.0
# With the rest of a file's name it stays below what any file system takes (143 bytes where names are encrypted).
_MODEL_BYTES = 72
_HIDDEN_ROW = ".row"

Row = Mapping[str, object]


class StoreError(Exception):
    """The folder can't take another record; the text says in one line why, and where the record is instead."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


def _no_row(_record: Record) -> Row:
    return {}


class Store:
    """A folder of records, one JSON file each, with a CSV file of one row beside those that have a `row`.

    A row is written before its record, under a hidden name that it loses once the record is there: so a program that
    is killed leaves nothing behind for which records must be read.
    """

    def __init__(self, folder: Path, row: Callable[[Record], Row] = _no_row) -> None:
        self.folder, self._row = folder, row
        self._writing = threading.Lock()

    def open(self) -> None:
        """Make the folder, and see that it can be written; raises UserError where it can't."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except (FileExistsError, NotADirectoryError):
            raise UserError("--outputs_dir", self.folder, "is a file; name a folder") from None
        except (OSError, ValueError) as error:  # a name with NUL in it
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError("--outputs_dir", self.folder, f"can't be written ({reason}); name another folder") from None

    @contextmanager
    def locked(self) -> Iterator[str | None]:
        """Keep other sweeps out of the folder, and finish what one that was killed has left undone.

        The lock dies with this process, however it ends. Raises UserError while another process holds it. Yields a
        warning where there can be none: all that it guards against is a second sweep.
        """
        with ExitStack() as held:
            try:
                # It is kept, for on NFS a removed file that others have open still has a name.
                refusal = held.enter_context(files.locked(self.folder / ".lock", wait=False, keep=True))
            except BlockingIOError:
                raise UserError(
                    "--outputs_dir", self.folder, "another sweep is writing there; wait for it, or name another folder"
                ) from None
            with suppress(OSError):  # the next one finishes it
                self._tidy()
            yield _unguarded(self.folder, refusal) if refusal else None

    def check_room(self) -> None:
        """Raise StoreError where the disk is too full for more records, before anything is measured in vain."""
        try:
            free_bytes = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise StoreError(f"{self.folder} can't be written ({error.strerror})") from error
        if free_bytes < ROOM_BYTES:
            raise StoreError(f"only {free_bytes / 2**20:.0f} MiB are free for {self.folder}; make room")

    def write(self, record: Record, judgement: Mapping[str, object] | None = None) -> tuple[Record, Path]:
        """Store `record` durably: when this returns, it survives a power cut. Returns it with its id, and its path.

        Raises StoreError where the folder does not take it; the record is then in the folder for temporary files,
        if that takes it.
        """
        sealed = seal(record)
        row = self._row(sealed)
        with self._writing:
            try:
                path = self._free_path(sealed)
                if row:
                    files.write_whole(_hidden_row(path), csv_text(row).encode(), replace=True, durable=True)
                files.write_whole(path, serialize(sealed, judgement), durable=True)
            except OSError as error:
                raise StoreError(f"{self.folder} can't be written ({error.strerror}); {_rescue(sealed)}") from error
            if row:
                with suppress(OSError):  # the record is there; the next sweep names its row
                    _show_row(path)
        return sealed, path

    def records(self) -> Iterator[tuple[Path, Record | DamagedRecordError]]:
        """Every record below the folder, once, in the order of file names; other files with what is wrong."""
        return folder.records(self.folder)

    def _free_path(self, record: Record) -> Path:
        """A path of the form `{stem}_{id}.json` whose CSV file is not there yet."""
        identity = record.record_id.removeprefix("sha256:")[:8]
        paths = (self.folder / f"{stem}_{identity}.json" for stem in _stems(record))
        return next(path for path in paths if not path.exists() and not _row_path(path).exists())

    def _tidy(self) -> None:
        """Name the rows of records that are there, and remove what else a killed writer has left."""
        for left in self.folder.glob(f"{files.TEMPORARY_PREFIX}*"):
            with suppress(FileNotFoundError):  # a writer at work has just finished it
                path = _record_path(left)
                if left.suffix == _HIDDEN_ROW and path.exists():
                    _show_row(path)
                elif time.time() - left.stat().st_mtime > ABANDONED_S:
                    left.unlink()


def _stems(record: Record) -> Iterator[str]:
    """`{model}_context_length-{n}_{timestamp}`, as the original scripts name files, and of later seconds."""
    model = _file_name(record.cell.model.model_id_or_path)
    moment = datetime.fromisoformat(record.created_at)
    while True:
        yield f"{model}_context_length-{record.cell.workload.context_length}_{moment:%m%d%H%M%S}"
        moment += timedelta(seconds=1)


def _file_name(model: str) -> str:
    """What of a model's id, or of its folder's name, stands in the name of a file."""
    with suppress(OSError):  # no folder has so long a name
        if Path(model).is_dir():
            model = Path(model).resolve().name
    plain = re.sub(r"[^\w.-]", "_", model.replace("/", "__"))
    return plain.encode()[:_MODEL_BYTES].decode(errors="ignore")


def _row_path(path: Path) -> Path:
    """The CSV file beside the record in `path`: the same name without the id."""
    return path.with_name(path.stem.rpartition("_")[0] + ".csv")


def _hidden_row(path: Path) -> Path:
    """Where the row of the record in `path` is until that is there."""
    return path.with_name(f"{files.TEMPORARY_PREFIX}{path.stem}{_HIDDEN_ROW}")


def _record_path(hidden_row: Path) -> Path:
    """The record that a hidden row belongs to."""
    return hidden_row.with_name(hidden_row.stem.removeprefix(files.TEMPORARY_PREFIX) + ".json")


def _show_row(path: Path) -> None:
    """Give the row of the record in `path` its name, which another writer can have taken in the same second."""
    taken = _row_path(path).exists()
    files.rename(_hidden_row(path), path.with_suffix(".csv") if taken else _row_path(path))


def _unguarded(folder: Path, refusal: OSError) -> str:
    reason = f"can't be locked ({refusal.strerror}); see that no other sweep writes there"
    return str(UserError("--outputs_dir", folder, reason))


def _rescue(record: Record) -> str:
    """Keep a record that its folder does not take; says where it is."""
    with suppress(OSError):
        path = Path(tempfile.mkdtemp(prefix="speed_benchmark_")) / f"{record.record_id[-8:]}.json"
        files.write_whole(path, serialize(record), durable=True)
        return f"the record that was just finished is {path}; copy it there once there is room"
    return "the record that was just finished is lost; measure it again"
