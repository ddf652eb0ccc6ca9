"""Whether stored records are as they were written, and whether this version judges them as the one that wrote them."""

import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import TypeGuard

from speed_benchmark.errors import UserError
from speed_benchmark.judge.reading import judge_stored
from speed_benchmark.parallel import parallel_map
from speed_benchmark.record.folder import content_of, record_files
from speed_benchmark.record.format import DamagedRecordError, NoRecordError, judgement, parse

# Another build of numpy may round the last digits of a mean otherwise.
ROUNDING = 1e-9


class State(StrEnum):
    """What a file is found to be; only `damaged` takes its content away from it."""

    SOUND = "sound"
    JUDGED_OTHERWISE = "judged_otherwise"
    OTHER = "other"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Verified:
    """A file, what it is found to be, and in `detail` what is wrong with it or differs."""

    path: Path
    state: State
    detail: str = ""


def verify(paths: Sequence[Path]) -> Iterator[Verified]:
    """Every JSON file in `paths` (files, or folders of them), each once.

    Raises UserError for a path that is not there.
    """
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 - pathlib raises for a name that is too long
            raise UserError("PATH", path, "no such file or folder")
    files = (file for path in paths for file in (record_files(path) if path.is_dir() else [path]))
    once = {file.resolve(): file for file in reversed(list(files))}  # by the first name that a file is given
    yield from parallel_map(_verified, list(reversed(once.values())))


def differences(stored: Mapping[str, object], derived: Mapping[str, object]) -> list[str]:
    """What differs between a stored judgement and the one of this version, a line each.

    What only one of them has is no difference, as an optional field is that came later; a finding is one.
    """
    rest, again = ({key: value for key, value in one.items() if key != "findings"} for one in (stored, derived))
    return [*_unlike("", rest, again), *_unlike_findings(stored.get("findings"), derived.get("findings"))]


def _verified(path: Path) -> Verified:
    try:
        content = content_of(path)
        judged = judge_stored(parse(content))
    except NoRecordError as error:
        return Verified(path, State.OTHER, str(error))
    except DamagedRecordError as error:
        return Verified(path, State.DAMAGED, str(error))
    stored = judgement(content)
    if not stored:  # none, or one that can't be read
        return Verified(path, State.SOUND) if _is_json(content) else Verified(path, State.DAMAGED, "it is not JSON")
    found = differences(stored, judged.judgement.model_dump(mode="json"))
    return Verified(path, State.JUDGED_OTHERWISE if found else State.SOUND, "; ".join(found))


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _unlike(name: str, stored: object, derived: object) -> Iterator[str]:
    """One line for each value below `name` that differs."""
    if stored is None or derived is None:
        return
    if isinstance(stored, dict) and isinstance(derived, dict):
        for key in sorted(stored.keys() & derived.keys()):
            yield from _unlike(f"{name}.{key}".lstrip("."), stored[key], derived[key])
    elif not _alike(stored, derived):
        yield f"{name} was {_short(stored)}, is {_short(derived)}"


def _unlike_findings(stored: object, derived: object) -> Iterator[str]:
    """One line for each finding that only one side has, and for each value in which two of one code differ."""
    before, after = _by_code(stored), _by_code(derived)
    for code in sorted(before.keys() | after.keys()):
        for old, new in zip_longest(before[code], after[code]):
            if old is None or new is None:
                yield f"{code} was {'not ' if old is None else ''}found, is {'' if old is None else 'not '}found"
            else:
                yield from _unlike(code, old, new)


def _by_code(findings: object) -> defaultdict[str, list[dict[str, object]]]:
    found: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
    for finding in findings if isinstance(findings, list) else ():
        if isinstance(finding, dict):
            found[str(finding.get("code"))].append({key: finding[key] for key in finding if key != "code"})
    return found


def _alike(stored: object, derived: object) -> bool:
    if _is_number(stored) and _is_number(derived):
        return math.isclose(stored, derived, rel_tol=ROUNDING)
    return type(stored) is type(derived) and stored == derived


def _is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number, and one that fits a float: nothing vouches for what a file says of a judgement."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _short(value: object) -> str:
    return "something else" if isinstance(value, dict | list) else str(value)
