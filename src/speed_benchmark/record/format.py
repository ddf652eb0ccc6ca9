"""A record as bytes: one JSON object, the id first, then the evidence, last the judgement of its day.

The id is the SHA-256 of the evidence's canonical JSON, so the bytes between id and judgement are checked themselves.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache

from pydantic import ValidationError

from speed_benchmark.cell import EngineSettings, Model, OptionValue, Protocol, Workload, canonical_json, options
from speed_benchmark.record import migrations
from speed_benchmark.record.record import SCHEMA_VERSION, Record

_HEAD = re.compile(rb'\{"record_id":"(sha256:[0-9a-f]{64})",')
_HEADS = re.compile(rb'^\{"record_id":"sha256:', re.MULTILINE)
_JUDGEMENT = b',"judgement":{'


class DamagedRecordError(Exception):
    """A file that is no whole, unchanged record; the text says what is wrong with it."""


class NoRecordError(DamagedRecordError):
    """JSON of another kind, which was never a record."""


def seal(record: Record) -> Record:
    """`record` with the id that its content asks for."""
    return record.model_copy(update={"record_id": _hash(_evidence(record))})


def serialize(record: Record, judgement: Mapping[str, object] | None = None) -> bytes:
    """The bytes of a sealed record's file, with the judgement of the day for those who read JSON."""
    return _assembled(record.record_id, _evidence(record), judgement)


def upgrade(content: bytes, judgement: Mapping[str, object] | None = None) -> bytes:
    """The bytes of a file of an older schema as this one writes them; raises what `parse` does."""
    evidence = _migrated(content)
    return _assembled(_hash(evidence), evidence, judgement)


def parse(content: bytes) -> Record:
    """The record that `content` holds, of this schema or an older one.

    Raises NoRecordError for what never was a record, DamagedRecordError unless every byte of the evidence is as it
    was written.
    """
    try:
        return _parsed(content)
    except DamagedRecordError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # Sealed, and still no record: what holds for one that was written by a version of this tool does not hold.
        raise DamagedRecordError(f"it is no whole record ({type(error).__name__})") from error


def judgement(content: bytes) -> dict[str, object]:
    """The judgement that stands in a record's file; {} where none does, or none that can be read."""
    start = content.rfind(_JUDGEMENT)
    try:
        found = json.loads(content[start + len(_JUDGEMENT) - 1 : -2]) if start >= 0 else {}
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def _parsed(content: bytes) -> Record:
    head = _HEAD.match(content)
    if head is None:
        evidence = _migrated(content).encode()
        return _validated(evidence).model_copy(update={"record_id": _hash(evidence)})
    if not content.endswith(b"}\n"):
        raise DamagedRecordError("it is no whole record")
    if len(_HEADS.findall(content)) > 1:
        raise NoRecordError("it holds several records, as `run --json` prints them; each is a file of its own")
    end = content.rfind(_JUDGEMENT)
    evidence = b"{" + content[head.end() : end if end >= 0 else -2] + b"}"
    if (identity := head[1].decode()) != _hash(evidence):
        raise DamagedRecordError("its content does not match its record_id")
    return _validated(evidence).model_copy(update={"record_id": identity})


def _evidence(record: Record) -> str:
    return canonical_json(record.model_dump(mode="json", exclude={"record_id"}))


def _assembled(identity: str, evidence: str, judgement: Mapping[str, object] | None) -> bytes:
    told = f',"judgement":{canonical_json(judgement)}' if judgement else ""
    return f'{{"record_id":"{identity}",{evidence[1:-1]}{told}}}\n'.encode()


def _hash(evidence: str | bytes) -> str:
    return "sha256:" + hashlib.sha256(evidence.encode() if isinstance(evidence, str) else evidence).hexdigest()


def _migrated(content: bytes) -> str:
    """The evidence of a record of an older schema, as the chain of migrations makes it.

    Its id is the hash of just that, and not of what today's classes would write: fields that are added later change
    no id.
    """
    try:
        known = json.loads(content)
    except (ValueError, RecursionError):
        raise DamagedRecordError("it is no whole record") from None
    if not isinstance(known, dict) or "record_id" not in known or "cell" not in known:
        raise NoRecordError("it is no record")
    version = known.get("schema_version")
    if version == SCHEMA_VERSION:  # and its bytes are in another order
        raise DamagedRecordError("it is no whole record")
    if not isinstance(version, int) or not 1 <= version < SCHEMA_VERSION:
        raise DamagedRecordError(f"its schema is {version}, this version reads 1 to {SCHEMA_VERSION}")
    if not content.endswith(b"}\n") or not migrations.is_unchanged(version, content):
        raise DamagedRecordError("its content does not match its record_id")
    try:
        return canonical_json(migrations.migrate(known))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise DamagedRecordError(f"no record of schema {version}: it can't be migrated") from None


def _validated(evidence: bytes) -> Record:
    """The record of this JSON; raises DamagedRecordError for one that is not of this schema."""
    try:
        record = Record.model_validate_json(_with_implied(evidence))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["loc"][:1] == ("schema_version",):
            raise DamagedRecordError(f"its schema is not one of 1 to {SCHEMA_VERSION}, which are read here") from None
        where = ".".join(map(str, first["loc"]))
        raise DamagedRecordError(f"no record of this version: {where} {first['msg']}".replace("  ", " ")) from None
    if record.cell_id != record.cell.cell_id:
        raise DamagedRecordError("its cell_id is not that of its cell")
    return record


def _with_implied(evidence: bytes) -> bytes:
    """The JSON with those fields of the cell that are younger than it at the value that their absence meant."""
    if not (younger := _not_by_default()):
        return evidence
    known = json.loads(evidence)
    for group, name, implied in younger:
        known["cell"][group].setdefault(name, implied)
    return canonical_json(known).encode()


@cache
def _not_by_default() -> tuple[tuple[str, str, OptionValue], ...]:
    """(group, field, implied value) of the cell's fields whose absence means something else than their default."""
    groups = {"model": Model, "workload": Workload, "settings": EngineSettings, "protocol": Protocol}
    return tuple(
        (name, field, option.implied)
        for name, group in groups.items()
        for field, (_, option, default) in options(group).items()
        if option.implied is not None and option.implied != default
    )
