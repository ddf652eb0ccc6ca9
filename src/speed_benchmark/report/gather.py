"""The records of folders, and what is wrong with those that can't be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speed_benchmark.errors import UserError
from speed_benchmark.judge.verify import differences
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import DamagedRecordError, Store


@dataclass(frozen=True)
class Gathered:
    """`records` by the name of their file, and `damaged` files with what is wrong with them."""

    records: tuple[tuple[str, Record], ...]
    damaged: tuple[tuple[str, str], ...]


def gather(option: str, folders: Sequence[Path]) -> Gathered:
    """All records below `folders` that verify; one that lies in several places counts once.

    Raises UserError, naming `option`, for a folder that is not there and where no whole record is found.
    """
    records: dict[str, tuple[str, Record]] = {}
    damaged: list[tuple[str, str]] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(option, folder, "no such folder; name one that holds records")
        for path, found in Store(folder).records():
            name = path.relative_to(folder).as_posix()
            if isinstance(found, DamagedRecordError):
                damaged.append((str(path), str(found)))
            elif unlike := differences(found):
                damaged.append((str(path), unlike[0]))
            else:
                records.setdefault(found.record_id, (name, found))
    if not records:
        named = ", ".join(map(str, folders))
        spoilt = f"none of its {len(damaged)} .json files is a sound record" if damaged else "it holds no record"
        first = f" ({damaged[0][0]}: {damaged[0][1]})" if damaged else "; run `speed-benchmark run` first"
        raise UserError(option, named, spoilt + first)
    return Gathered(tuple(records.values()), tuple(damaged))
