"""Records on disk: plain files, each written whole or not at all, that merge by copying."""

import csv
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from speed_benchmark.cell import canonical_json
from speed_benchmark.errors import UserError
from speed_benchmark.results import original
from speed_benchmark.results.record import Record


class DamagedRecordError(Exception):
    """A file that is no whole, unchanged record; the text says what is wrong with it."""


class Store:
    """A folder of records, one JSON file each, with the CSV file of the original scripts beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        """Make the folder, and see that it can be written; raises UserError where it can't."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".probe-"):
                pass
        except FileExistsError:
            raise UserError("--outputs_dir", self.folder, "is a file; name a folder") from None
        except OSError as error:
            cure = f"can't be written ({error.strerror}); name another folder"
            raise UserError("--outputs_dir", self.folder, cure) from None

    def write(self, record: Record) -> tuple[Record, Path]:
        """Store `record` durably: when this returns, it survives a power cut. Returns it with its id, and its path."""
        sealed = record.model_copy(update={"record_id": record.derived_id()})
        stem = _stem(sealed)
        path = self.folder / f"{stem}_{sealed.record_id.removeprefix('sha256:')[:8]}.json"
        _write_durably(path, serialize(sealed))
        row = original.row(sealed)
        if row:
            text = io.StringIO()
            writer = csv.DictWriter(text, fieldnames=list(row))
            writer.writeheader()
            writer.writerow(row)
            _write_durably(self.folder / f"{stem}.csv", text.getvalue().encode())
        return sealed, path

    def records(self) -> Iterator[tuple[Path, Record | DamagedRecordError]]:
        """Every record file below the folder, in the order of their names, damaged ones with what is wrong."""
        for path in sorted(self.folder.rglob("*.json")):
            try:
                yield path, read(path)
            except DamagedRecordError as error:
                yield path, error


def serialize(record: Record) -> bytes:
    """The bytes of a record's file: canonical JSON and one line end."""
    return canonical_json(record.model_dump(mode="json")).encode() + b"\n"


def read(path: Path) -> Record:
    """The record in `path`; raises DamagedRecordError unless every byte of it is as it was written."""
    content = path.read_bytes()
    try:
        record = Record.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedRecordError(f"no record of this version: {where} {first['msg']}".replace("  ", " ")) from None
    if record.record_id != record.derived_id():
        raise DamagedRecordError("its content does not match its record_id")
    if serialize(record) != content:
        raise DamagedRecordError("its bytes are not as they were written")
    return record


def _stem(record: Record) -> str:
    """`{model}_context_length-{n}_{timestamp}`, as the original scripts name their files."""
    name = record.cell.model.model_id_or_path
    name = Path(name).resolve().name if Path(name).is_dir() else name.replace("/", "__")
    stamp = re.sub(r"\D", "", record.created_at)[4:14]  # month, day, hours, minutes, seconds
    plain = re.sub(r"[^\w.-]", "_", name)
    return f"{plain}_context_length-{record.cell.workload.context_length}_{stamp}"


def _write_durably(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
