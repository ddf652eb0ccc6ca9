"""The records of folders, one after the other, and what is wrong with files that can't be used."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from speed_benchmark.errors import UserError
from speed_benchmark.parallel import parallel_map
from speed_benchmark.record.folder import read
from speed_benchmark.record.format import DamagedRecordError, NoRecordError
from speed_benchmark.record.record import Record

T = TypeVar("T")
Made = tuple[str, T] | DamagedRecordError


@dataclass(frozen=True)
class Found:
    """A record, the file that it is in, and the name of that file in the folder that was asked for."""

    path: Path
    name: str
    record: Record


@dataclass(frozen=True)
class _File:
    path: Path
    name: str


class Gathering:
    """The records below `folders`, for one pass over them; one that lies in several places comes once.

    No record is held. A damaged file is named on standard error and makes `status` 1; JSON that never was a record is
    named and passed over. Raises UserError, naming `option`, for a folder that is not there and where no sound record
    is found.
    """

    def __init__(self, option: str, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise UserError(option, folder, "no such folder; name one that holds records")
        self._option, self._folders = option, folders
        self._seen: set[str] = set()
        self._damaged = 0

    @property
    def status(self) -> int:
        """1 where a file was damaged, of what has come so far."""
        return 1 if self._damaged else 0

    def records(self) -> Iterator[Record]:
        """The records themselves."""
        return self._sound(map(partial(_made, _record), self._files()))

    def each(self, make: Callable[[Found], T]) -> Iterator[T]:
        """What `make` makes of each record; of many records in several processes, so that it must be a function of a
        module, or a partial of one.
        """  # noqa: D205 - one sentence
        return self._sound(parallel_map(partial(_made, make), list(self._files())))

    def _files(self) -> Iterator[_File]:
        for folder in self._folders:
            for path in sorted(folder.rglob("*.json")):
                yield _File(path, path.relative_to(folder).as_posix())

    def _sound(self, made: Iterator[tuple[_File, Made[T]]]) -> Iterator[T]:
        """What was made of sound records, once each."""
        for file, found in made:
            if isinstance(found, DamagedRecordError):
                self._tell(file.path, found)
            elif found[0] not in self._seen:
                self._seen.add(found[0])
                yield found[1]
        if not self._seen:
            raise UserError(self._option, ", ".join(map(str, self._folders)), self._nothing())

    def _tell(self, path: Path, error: DamagedRecordError) -> None:
        passed_over = isinstance(error, NoRecordError)
        self._damaged += not passed_over
        print(f"{'passed over' if passed_over else 'damaged'}: {path}: {error}", file=sys.stderr)  # noqa: T201

    def _nothing(self) -> str:
        if self._damaged:
            return f"none of its .json files is a sound record, {self._damaged} are damaged"
        return "it holds no record; run `speed-benchmark run` first"


def _made(make: Callable[[Found], T], file: _File) -> tuple[_File, Made[T]]:
    """What `make` makes of the record in a file, with the record's id; or what is wrong with the file."""
    try:
        record = read(file.path)
    except DamagedRecordError as error:
        return file, error
    except OSError as error:
        return file, DamagedRecordError(str(error))
    return file, (record.record_id, make(Found(file.path, file.name, record)))


def _record(found: Found) -> Record:
    return found.record
