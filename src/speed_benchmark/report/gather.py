"""The records of folders, one after the other, and what is wrong with files that can't be used."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from speed_benchmark.errors import UserError
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.judge.reading import read
from speed_benchmark.parallel import parallel_map
from speed_benchmark.record.folder import record_files
from speed_benchmark.record.format import DamagedRecordError, NoRecordError
from speed_benchmark.record.record import Record
from speed_benchmark.terminal import say

T = TypeVar("T")
Made = tuple[str, T] | DamagedRecordError


@dataclass(frozen=True)
class Found:
    """A judged record, the file that it is in, and the name of that file in the folder that was asked for."""

    path: Path
    name: str
    judged: Judged

    @property
    def record(self) -> Record:
        """The record itself."""
        return self.judged.record


@dataclass(frozen=True)
class _File:
    path: Path
    name: str


class Gathering:
    """The records below `folders`, for one pass over them; one that lies in several places comes once.

    No record is held. A damaged file is named on standard error and makes `status` 1; files that never were records
    are counted and passed over. Raises UserError, naming `option`, for a folder that is not there and where no sound
    record is found.
    """

    def __init__(self, option: str, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not os.path.isdir(folder):  # noqa: PTH112 - pathlib raises for a name that is too long
                raise UserError(option, folder, "no such folder; name one that holds records")
        self._option, self._folders = option, folders
        self._seen: set[str] = set()
        self._damaged = 0
        self._passed_over: list[str] = []

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
            for path in record_files(folder):
                yield _File(path, path.relative_to(folder).as_posix())

    def _sound(self, made: Iterator[tuple[_File, Made[T]]]) -> Iterator[T]:
        """What was made of sound records, once each."""
        for file, found in made:
            if isinstance(found, NoRecordError):
                self._passed_over.append(f"{file.path}: {found}")
            elif isinstance(found, DamagedRecordError):
                self._damaged += 1
                say(f"damaged: {file.path}: {found}", error=True)
            elif found[0] not in self._seen:
                self._seen.add(found[0])
                yield found[1]
        self._tell_passed_over()
        if not self._seen:
            raise UserError(self._option, ", ".join(map(str, self._folders)), self._nothing())

    def _tell_passed_over(self) -> None:
        """Name one of the files that are no records: there may be thousands in somebody's project."""
        if self._passed_over:
            more = len(self._passed_over) - 1
            also = f", and {more} more .json file{'s' if more > 1 else ''} that are no records" if more else ""
            say(f"passed over: {self._passed_over[0]}{also}", error=True)
            self._passed_over.clear()

    def _nothing(self) -> str:
        if self._damaged:
            return f"none of its .json files is a sound record, {self._damaged} are damaged"
        return "it holds no record; run `speed-benchmark run` first"


def _made(make: Callable[[Found], T], file: _File) -> tuple[_File, Made[T]]:
    """What `make` makes of the record in a file, with the record's id; or what is wrong with the file."""
    try:
        judged = read(file.path)
    except DamagedRecordError as error:
        return file, error
    return file, (judged.record.record_id, make(Found(file.path, file.name, judged)))


def _record(found: Found) -> Record:
    return found.record
