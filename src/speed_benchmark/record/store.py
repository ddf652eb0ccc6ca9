"""Records on disk: plain files, each written whole or not at all, that merge by copying."""

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from speed_benchmark.cell import canonical_json
from speed_benchmark.errors import UserError
from speed_benchmark.record.record import SCHEMA_VERSION, Record
from speed_benchmark.run import original

ROOM_BYTES = 64 * 2**20
ABANDONED_S = 60.0
_ID = re.compile(rb'"record_id":"(sha256:[0-9a-f]{64})",')


class DamagedRecordError(Exception):
    """A file that is no whole, unchanged record; the text says what is wrong with it."""


class StoreError(Exception):
    """The folder can't take another record; the text says why, and where the record is instead."""


class Store:
    """A folder of records, one JSON file each, with the CSV file of the original scripts beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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

    def write(self, record: Record) -> tuple[Record, Path]:
        """Store `record` durably: when this returns, it survives a power cut. Returns it with its id, and its path.

        Raises StoreError where the folder does not take it; the record is then in the folder for temporary files,
        if that takes it.
        """
        sealed = record.model_copy(update={"record_id": record.derived_id()})
        with self._writing:
            try:
                path = self._free_path(sealed)
                _write_durably(path, serialize(sealed))
                _write_row(self.folder, sealed)
            except OSError as error:
                raise StoreError(f"{self.folder} can't be written ({error.strerror}); {_rescue(sealed)}") from error
        return sealed, path

    def records(self) -> Iterator[tuple[Path, Record | DamagedRecordError]]:
        """Every record below the folder, once, in the order of file names; damaged files with what is wrong."""
        seen: set[str] = set()
        for path in sorted(self.folder.rglob("*.json")):
            try:
                record = read(path)
            except (DamagedRecordError, OSError) as error:
                yield path, error if isinstance(error, DamagedRecordError) else DamagedRecordError(str(error))
                continue
            if record.record_id not in seen:
                seen.add(record.record_id)
                yield path, record

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
                    _write_row(self.folder, read(path))


def serialize(record: Record) -> bytes:
    """The bytes of a record's file: canonical JSON and one line end."""
    return canonical_json(record.model_dump(mode="json")).encode() + b"\n"


def read(path: Path) -> Record:
    """The record in `path`; raises DamagedRecordError unless every byte of it is as it was written."""
    return parse(path.read_bytes())


def parse(content: bytes) -> Record:
    """The record that `content` holds; raises DamagedRecordError unless every byte of it is as it was written.

    The id is the hash of the canonical JSON without the id, so the bytes themselves are checked.
    """
    found = _ID.search(content)
    if not content.endswith(b"}\n") or not found:
        raise DamagedRecordError("it is no whole record")
    rest = content[: found.start()] + content[found.end() : -1]
    if found[1].decode() != "sha256:" + hashlib.sha256(rest).hexdigest():
        raise DamagedRecordError("its content does not match its record_id")
    try:
        return Record.model_validate_json(content)
    except ValidationError as error:
        version = json.loads(content).get("schema_version")
        if version != SCHEMA_VERSION:
            raise DamagedRecordError(f"its schema is {version}, this version reads {SCHEMA_VERSION}") from None
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedRecordError(f"no record of this version: {where} {first['msg']}".replace("  ", " ")) from None


def replace(path: Path, record: Record) -> None:
    """Store `record` under the name of the one that is there, as durably as `Store.write`; raises OSError."""
    row_path = _row_path(path)
    if row_path.exists():  # first: as long as the record is the old one, this can be done again
        _write_durably(row_path, _row_text(original.row(record)), over=True)
    _write_durably(path, serialize(record.model_copy(update={"record_id": record.derived_id()})), over=True)


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


def _write_row(folder: Path, record: Record) -> None:
    """The row of the original script, under the next free name of its pattern; a record without a speed has none."""
    row = original.row(record)
    if not row:
        return
    for stem in _stems(record):
        with suppress(FileExistsError):  # another writer's, in the same second
            _write_durably(folder / f"{stem}.csv", _row_text(row))
            return


def _row_text(row: Mapping[str, object]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(row))
    writer.writeheader()
    writer.writerow(row)
    return text.getvalue().encode()


def _write_durably(path: Path, content: bytes, *, over: bool = False) -> None:
    """Write a file whole or not at all, so that it survives a power cut.

    Raises FileExistsError if one is there, unless it is to be written `over`.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        if over:
            Path(temporary).replace(path)
        else:
            _name(temporary, path)
    finally:
        _remove(temporary)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _name(temporary: str, path: Path) -> None:
    """Give a file its name, unless that is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if path.exists():  # a file system without links
            raise FileExistsError(path) from None
        Path(temporary).replace(path)


def _rescue(record: Record) -> str:
    """Keep a record that its folder does not take; says where it is."""
    with suppress(OSError):
        path = Path(tempfile.mkdtemp(prefix="speed_benchmark_")) / f"{record.record_id[-8:]}.json"
        _write_durably(path, serialize(record))
        return f"the record that was just finished is {path}; copy it there once there is room"
    return "the record that was just finished is lost; measure it again"
