"""Records of older schemas are read for ever: the fixtures are the 43 records that schema 1 left in results/."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import canonical_json, digest
from speed_benchmark.record import format as record_format
from speed_benchmark.record.format import DamagedRecordError, parse, upgrade
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record

RESULTS = Path(__file__).parents[2] / "results"
SEQUENCE = ("token_times_s", "prompt_tokens", "output_tokens", "output_digest", "first_token_ids")
RENAMED = {"work": "token_cost", "rates": "device_peaks", "share": "colocation"}

with zipfile.ZipFile(Path(__file__).with_name("schema1.zip")) as archive:
    FIXTURES = {name: archive.read(name) for name in archive.namelist()}


def rewritten(content: dict[str, Any]) -> bytes:
    """`content` as schema 1 wrote it."""
    known = {key: value for key, value in content.items() if key != "record_id"}
    return canonical_json({**known, "record_id": digest(known)}).encode() + b"\n"


def flat_sample(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample of schema 2 as schema 1 has it."""
    sequence: dict[str, Any]
    (sequence,) = sample["sequences"]
    return {key: value for key, value in sample.items() if key != "sequences"} | sequence


def holds(content: dict[str, Any], part: dict[str, Any]) -> bool:
    """Whether `content` has all keys of `part` at the same values."""
    return all(content.get(key) == value for key, value in part.items())


def test_there_are_43() -> None:
    assert len(FIXTURES) == 43


@pytest.mark.parametrize("name", FIXTURES)
def test_nothing_of_a_record_is_lost(name: str) -> None:
    old = json.loads(FIXTURES[name])
    record = parse(FIXTURES[name])
    new = json.loads(canonical_json(record.model_dump(mode="json")))
    for requests in ("warmups", "samples"):
        now = [flat_sample(sample) for sample in new[requests]]
        assert len(now) == len(old[requests])
        # what older ones among them did not have yet is filled in with its default
        assert all(holds(after, before) for before, after in zip(old[requests], now, strict=True))
    settings = new["cell"]["settings"]
    assert {**settings.pop("options"), **settings} == old["cell"]["settings"]
    assert new["cell"]["workload"].pop("batch_size") == 1
    same = ("model", "workload", "protocol")
    assert {key: new["cell"][key] for key in same} == {key: old["cell"][key] for key in same}
    assert new["cell_id"] == old["cell_id"]
    assert new["earlier_id"] == old["record_id"]
    judged = {"findings", "roofline", "summary", "verdict"}
    other = {"record_id", "schema_version", "cell", "samples", "warmups", "outcome", "cause", "loaded", "provenance"}
    for key in old.keys() - judged - other:
        moved = new[RENAMED.get(key, key)]
        assert holds(moved, old[key]) if key == "work" and old[key] else moved == old[key], key
    for key in ("loaded", "provenance"):
        assert holds(new.get(key, {}), old.get(key, {}))


def test_the_records_in_results_are_the_fixtures() -> None:
    """Those that newer ones have not replaced yet are of schema 2 now, and sample for sample what schema 1 had."""
    seen = 0
    for name, fixture in FIXTURES.items():
        record = parse(fixture)
        stem, identity = name.removesuffix(".json").rpartition("_")[0], record.record_id.removeprefix("sha256:")[:8]
        stored = RESULTS / f"{stem}_{identity}.json"
        if stored.exists():
            seen += 1
            assert parse(stored.read_bytes()) == record
            assert stored.read_bytes().startswith(upgrade(fixture).removesuffix(b"}\n"))
    assert seen == 25


def test_a_field_that_is_added_changes_no_id_of_a_migrated_record(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(Record):
        remark: str = "none"

    content = next(iter(FIXTURES.values()))
    before = parse(content).record_id
    monkeypatch.setattr(record_format, "Record", Later)
    assert parse(content).record_id == before


def test_a_changed_byte_is_seen() -> None:
    content = next(iter(FIXTURES.values()))
    at = content.index(b'"duration_s":') + len(b'"duration_s":')
    changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    with pytest.raises(DamagedRecordError, match="does not match"):
        parse(changed)


@pytest.mark.parametrize(
    ("outcome", "kind", "now"),
    [
        ("invalid", None, (Outcome.OK, None)),
        ("invalid", "interrupted", (Outcome.INTERRUPTED, None)),
        ("oom", "predicted", (Outcome.SKIPPED, "cannot_fit")),
        ("oom", "after_shorter", (Outcome.SKIPPED, "after_shorter")),
        ("oom", None, (Outcome.OOM, None)),
    ],
)
def test_how_a_cell_ended(outcome: str, kind: str | None, now: tuple[Outcome, str | None]) -> None:
    """`invalid` was a judgement; what was never run did not run out of memory."""
    content = json.loads(next(iter(FIXTURES.values())))
    cause = None if (outcome, kind) == ("invalid", None) else {"message": "said", "kind": kind}
    record = parse(rewritten(content | {"outcome": outcome, "cause": cause}))
    assert (record.outcome, record.cause.kind if record.cause else None) == now
    assert (record.cause is None) == (cause is None)


@pytest.mark.parametrize("schema", [0, 3, "1", None])
def test_another_schema(schema: object) -> None:
    content = json.loads(next(iter(FIXTURES.values())))
    with pytest.raises(DamagedRecordError, match="schema is"):
        parse(rewritten(content | {"schema_version": schema}))


@pytest.mark.parametrize("missing", ["cell", "provenance", "samples", "outcome", "machine"])
def test_what_schema_1_never_wrote(missing: str) -> None:
    """A part that is not there makes a file no record, and no traceback."""
    content = json.loads(next(iter(FIXTURES.values())))
    del content[missing]
    if missing == "samples":
        assert parse(rewritten(content)).samples == ()
        return
    with pytest.raises(DamagedRecordError):
        parse(rewritten(content))
