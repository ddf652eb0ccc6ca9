"""A record's bytes: what its id covers, and what it does not."""

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pytest

from speed_benchmark import cell
from speed_benchmark.cell import Cell, EngineSettings, Model, Option, Protocol, Workload
from speed_benchmark.record import format as record_format
from speed_benchmark.record.format import DamagedRecordError, NoRecordError, judgement, parse, seal, serialize
from speed_benchmark.record.record import Record

JUDGEMENT = {"verdict": "valid", "findings": [{"code": "trend", "severity": "note"}]}

with zipfile.ZipFile(Path(__file__).with_name("schema1.zip")) as archive:
    RECORD = seal(parse(archive.read(archive.namelist()[0])))
SHORT = seal(RECORD.model_copy(update={"samples": RECORD.samples[:0], "warmups": ()}))


def a_cell() -> Cell:
    return Cell(
        model=Model(model_id_or_path="m"),
        workload=Workload(context_length=5),
        settings=EngineSettings(engine="e", options={"limit": 3}),
        protocol=Protocol(),
    )


def test_a_file_is_json_that_begins_with_the_id_and_ends_with_the_judgement() -> None:
    content = serialize(RECORD, JUDGEMENT)
    known = json.loads(content)
    assert next(iter(known)) == "record_id"
    assert list(known)[-1] == "judgement"
    assert known["judgement"] == JUDGEMENT == judgement(content)
    assert parse(content) == RECORD


def test_the_judgement_is_no_part_of_the_id() -> None:
    for told in (None, {}, JUDGEMENT, {"verdict": "invalid", "judgement": {"a": 1}}):
        assert parse(serialize(RECORD, told)).record_id == RECORD.record_id
    assert judgement(serialize(RECORD)) == {}


def test_every_changed_byte_of_the_evidence_is_seen() -> None:
    content = serialize(SHORT)
    for at in range(len(content)):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        with pytest.raises(DamagedRecordError):
            parse(changed)


def test_every_cut_is_seen() -> None:
    content = serialize(SHORT, JUDGEMENT)
    for length in range(0, len(content), 7):
        with pytest.raises(DamagedRecordError):
            parse(content[:length])


@pytest.mark.parametrize("content", [b"{}", b"[]", b'[{"model": "m"}]', b'{"a": 1}', b"1", b'"record_id"'])
def test_json_of_another_kind_is_no_record(content: bytes) -> None:
    with pytest.raises(NoRecordError):
        parse(content)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xfe", b"[" * 100_000, b'{"record_id": 1'])
def test_no_json_is_damaged(content: bytes) -> None:
    with pytest.raises(DamagedRecordError) as raised:
        parse(content)
    assert not isinstance(raised.value, NoRecordError)


def test_a_cell_id_that_is_not_the_cells() -> None:
    """A record must not answer for a cell that it did not measure, whatever it calls itself."""
    other = RECORD.model_copy(update={"cell_id": "sha256:" + "0" * 64})
    with pytest.raises(DamagedRecordError, match="cell_id"):
        parse(serialize(seal(other)))


def test_an_optional_field_that_is_added_changes_no_id() -> None:
    class Later(Record):
        note: str | None = None

    content = serialize(RECORD)
    later = Later.model_validate_json(content)
    assert seal(later).record_id == RECORD.record_id


@dataclass(frozen=True, kw_only=True)
class LaterWorkload(Workload):
    """A workload with a field of a later version; what older ones did was depth 0."""

    depth: Annotated[int, Option("tokens in the cache before", implied=0)] = 512


def test_a_cell_keeps_its_id_when_a_field_is_added() -> None:
    now = a_cell()
    later = replace(now, workload=LaterWorkload(context_length=5, depth=0))
    assert later.cell_id == now.cell_id
    assert replace(now, workload=LaterWorkload(context_length=5)).cell_id != now.cell_id


def test_what_absence_meant_is_read_where_the_default_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older records lack the field: they are read at its implied value and not at today's default."""
    monkeypatch.setattr(record_format, "Workload", LaterWorkload)
    record_format._not_by_default.cache_clear()
    try:
        filled = json.loads(record_format._with_implied(serialize(SHORT)))
    finally:
        record_format._not_by_default.cache_clear()
    assert filled["cell"]["workload"]["depth"] == 0


def test_batch_size_1_is_what_older_cells_meant() -> None:
    now = a_cell()
    assert replace(now, workload=replace(now.workload, batch_size=4)).cell_id != now.cell_id
    without = {**cell._counting(now.workload)}
    assert "batch_size" not in without


def test_an_engines_options_count_beside_the_common_settings() -> None:
    """They stood in one object in schema 1: the ids of then are the ids of now."""
    now = a_cell()
    flat = {"engine": "e", "gpu_count": 0, "dtype": "auto", "limit": 3}
    asked = {"context_length": 5, "generate_length": 2048, "sampling": "model", "seed": 1024}
    model = {"model_id_or_path": "m", "weights": "hub"} | dict.fromkeys(
        ("use_modelscope", "trust_remote_code", "allow_pickle"), False
    )
    protocol = {"repeats": 3, "warmups": 1, "processes": 1, "quick": False, "audit": False}
    assert now.cell_id == cell.digest({"model": model, "workload": asked, "settings": flat, "protocol": protocol})
