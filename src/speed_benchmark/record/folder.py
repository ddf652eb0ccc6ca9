"""Reading a folder of records that anybody may have filled: which of its files are records, and what is wrong."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from speed_benchmark.record.format import DamagedRecordError, NoRecordError, parse
from speed_benchmark.record.record import Record

# What is larger is not read: its figures would take some twenty times as much memory.
MAX_RECORD_BYTES = 256 * 2**20
# By then a record has said what it is, in any order of its keys.
_HEAD_BYTES = 1 << 16
_NAME = re.compile(r"_[0-9a-f]{8}\.json$")
_CLAIMS = (b'"record_id":', b'"cell_id":"sha256:')


def record_files(folder: Path) -> Iterator[Path]:
    """Every JSON file below `folder`, sorted, and each folder below it that can't be listed, for `read` to explain."""
    unlisted: list[Path] = []

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder that is not there yet has no records
            unlisted.append(Path(error.filename))

    for path, folders, names in os.walk(folder, onerror=refused):
        folders.sort()
        yield from (Path(path, name) for name in sorted(names) if name.endswith(".json"))
    yield from unlisted


def content_of(path: Path) -> bytes:
    """The bytes of a file that says it is a record.

    Raises NoRecordError for one that does not, and DamagedRecordError for one that can't be read.
    """
    try:
        # A pipe or a device must not hold up whoever opens it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise NoRecordError("it is no regular file")
            head = file.read(_HEAD_BYTES)
            if not any(claim in head for claim in _CLAIMS):
                raise _nothing_known(path)
            if status.st_size > MAX_RECORD_BYTES:
                raise DamagedRecordError(f"it is larger than {MAX_RECORD_BYTES // 2**20} MiB, which no record is")
            return head + file.read(MAX_RECORD_BYTES)
    except OSError as error:
        if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 - pathlib raises for long names
            raise NoRecordError("it is a link that leads nowhere") from None
        raise DamagedRecordError(f"it can't be read ({error.strerror})") from None


def _nothing_known(path: Path) -> DamagedRecordError:
    """What a file is that does not say it is a record: one that is named as records are has lost its content."""
    return DamagedRecordError("it is no whole record") if _NAME.search(path.name) else NoRecordError("it is no record")


def read(path: Path) -> Record:
    """The record in `path`; raises DamagedRecordError unless every byte of its evidence is as it was written."""
    return parse(content_of(path))


def records(folder: Path) -> Iterator[tuple[Path, Record | DamagedRecordError]]:
    """Every record below `folder`, once, in the order of file names; other files with what is wrong."""
    seen: set[str] = set()
    for path in record_files(folder):
        try:
            record = read(path)
        except DamagedRecordError as error:
            yield path, error
            continue
        if record.record_id not in seen:
            seen.add(record.record_id)
            yield path, record
