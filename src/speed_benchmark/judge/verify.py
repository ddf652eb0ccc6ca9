"""Whether stored records are as they were written, and say what their samples say."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from speed_benchmark.errors import UserError
from speed_benchmark.judge.checks import judge
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import DamagedRecordError, Store, read, replace

# Another build of numpy may round the last digits of a mean otherwise.
ROUNDING = 1e-9


def verify(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Every record in `paths` (files, or folders of them), and what is wrong with it; an empty text where nothing is.

    Raises UserError for a path that is not there.
    """
    for path in paths:
        if not path.exists():
            raise UserError("PATH", path, "no such file or folder")
    for path in paths:
        for file, found in Store(path).records() if path.is_dir() else [(path, _read(path))]:
            yield file, str(found) if isinstance(found, DamagedRecordError) else "; ".join(differences(found))


def differences(record: Record) -> list[str]:
    """Where identity, statistics, findings or verdict of `record` are not what its content gives again."""
    fields = {"cell_id", "outcome", "verdict", "findings", "summary", "roofline"}
    again = _again(record)
    stored, derived = (one.model_dump(mode="json", include=fields) for one in (record, again))
    return list(_unlike("", stored, derived))


def rewrite(path: Path) -> bool:
    """Store the record in `path` again as this version judges it; False, and nothing done, for a damaged one."""
    record = _read(path)
    if isinstance(record, DamagedRecordError):
        return False
    replace(path, _again(record))
    return True


def _again(record: Record) -> Record:
    """`record` with all that its content gives: an older version may have judged by other rules."""
    return judge(record.model_copy(update={"cell_id": record.cell.cell_id}))


def _read(path: Path) -> Record | DamagedRecordError:
    try:
        return read(path)
    except (DamagedRecordError, OSError) as error:
        return DamagedRecordError(str(error))


def _unlike(name: str, stored: object, derived: object) -> Iterator[str]:
    """One line for each value below `name` that differs."""
    if isinstance(stored, dict) and isinstance(derived, dict):
        for key in stored:
            yield from _unlike(f"{name}.{key}".lstrip("."), stored[key], derived[key])
    elif isinstance(stored, list) and isinstance(derived, list) and len(stored) == len(derived):
        for index, pair in enumerate(zip(stored, derived, strict=True)):
            yield from _unlike(f"{name}[{index}]", *pair)
    elif isinstance(stored, float) and isinstance(derived, float):
        if not math.isclose(stored, derived, rel_tol=ROUNDING):
            yield f"{name} is stored as {stored}, its samples give {derived}"
    elif stored != derived:
        yield f"{name} is stored as {_short(stored)}, its samples give {_short(derived)}"


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"{[item.get('code') for item in value]}"
    return "something" if isinstance(value, dict) else str(value)
