"""Records on disk: plain files, each written whole or not at all, that merge by copying."""

import csv
import fcntl
import io
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from speed_benchmark.errors import UserError
from speed_benchmark.files import write_whole
from speed_benchmark.record import folder
from speed_benchmark.record.format import DamagedRecordError, seal, serialize
from speed_benchmark.record.record import Record

ROOM_BYTES = 64 * 2**20
ABANDONED_S = 60.0

Row = Mapping[str, object]


class StoreError(Exception):
    """The folder can't take another record; the text says why, and where the record is instead."""


def _no_row(_record: Record) -> Row:
    return {}


class Store:
    """A folder of records, one JSON file each, with a CSV file of one row beside those that have a `row`."""

    def __init__(self, folder: Path, row: Callable[[Record], Row] = _no_row) -> None:
        self.folder, self._row = folder, row
        self._writing = threading.Lock()

    def open(self) -> None:
        """Make the folder, and see that it can be written; raises UserError where it can't."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".probe-"):
                pass
        except (FileExistsError, NotADirectoryError):
            raise UserError("--outputs_dir", self.folder, "is a file; name a folder") from None
        except OSError as error:
            cure = f"can't be written ({error.strerror}); name another folder"
            raise UserError("--outputs_dir", self.folder, cure) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other sweeps out of the folder, and finish what one that was killed has left undone.

        The lock dies with this process, however it ends. Raises UserError while another process holds it.
        """
        descriptor = os.open(self.folder / ".lock", os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    "--outputs_dir", self.folder, "another sweep is writing there; wait for it, or name another folder"
                ) from None
            self._tidy()
            yield
        finally:
            os.close(descriptor)

    def check_room(self) -> None:
        """Raise StoreError where the disk is too full for more records, before anything is measured in vain."""
        free_bytes = shutil.disk_usage(self.folder).free
        if free_bytes < ROOM_BYTES:
            raise StoreError(f"only {free_bytes / 2**20:.0f} MiB are free for {self.folder}; make room")

    def write(self, record: Record, judgement: Mapping[str, object] | None = None) -> tuple[Record, Path]:
        """Store `record` durably: when this returns, it survives a power cut. Returns it with its id, and its path.

        Raises StoreError where the folder does not take it; the record is then in the folder for temporary files,
        if that takes it.
        """
        sealed = seal(record)
        with self._writing:
            try:
                path = self._free_path(sealed)
                write_whole(path, serialize(sealed, judgement), durable=True)
                self._write_row(sealed)
            except OSError as error:
                raise StoreError(f"{self.folder} can't be written ({error.strerror}); {_rescue(sealed)}") from error
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
        """Remove half-written files, and write the CSV files that are missing beside their records."""
        for temporary in self.folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):  # a writer at work has just finished it
                if time.time() - temporary.stat().st_mtime > ABANDONED_S:
                    temporary.unlink()
        for path in self.folder.glob("*.json"):
            if not _row_path(path).exists():
                with suppress(DamagedRecordError):
                    self._write_row(folder.read(path))

    def _write_row(self, record: Record) -> None:
        """The row, under the next free name of the original scripts' pattern; a record without one has no file."""
        row = self._row(record)
        if not row:
            return
        for stem in _stems(record):
            with suppress(FileExistsError):  # another writer's, in the same second
                write_whole(self.folder / f"{stem}.csv", _row_text(row), durable=True)
                return


def _stems(record: Record) -> Iterator[str]:
    """`{model}_context_length-{n}_{timestamp}`, as the original scripts name files, and of later seconds."""
    name = record.cell.model.model_id_or_path
    name = Path(name).resolve().name if Path(name).is_dir() else name.replace("/", "__")
    plain = re.sub(r"[^\w.-]", "_", name)
    moment = datetime.fromisoformat(record.created_at)
    while True:
        yield f"{plain}_context_length-{record.cell.workload.context_length}_{moment:%m%d%H%M%S}"
        moment += timedelta(seconds=1)


def _row_path(path: Path) -> Path:
    """The CSV file beside the record in `path`: the same name without the id."""
    return path.with_name(path.stem.rpartition("_")[0] + ".csv")


def _row_text(row: Row) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(row))
    writer.writeheader()
    writer.writerow(row)
    return text.getvalue().encode()


def _rescue(record: Record) -> str:
    """Keep a record that its folder does not take; says where it is."""
    with suppress(OSError):
        path = Path(tempfile.mkdtemp(prefix="speed_benchmark_")) / f"{record.record_id[-8:]}.json"
        write_whole(path, serialize(record), durable=True)
        return f"the record that was just finished is {path}; copy it there once there is room"
    return "the record that was just finished is lost; measure it again"
