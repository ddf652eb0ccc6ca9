"""Stored records: any changed byte is found, and any figure that the samples don't give."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speed_benchmark.judge.verify import differences, verify
from speed_benchmark.record.record import Record, Verdict
from speed_benchmark.record.store import DamagedRecordError, Store, parse, read, serialize

Make = Callable[..., Record]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stored(fake_record: Make, tmp_path: Path) -> Path:
    """The file of a stored record with a summary, an interval and a finding."""
    folder = tmp_path / "records"
    folder.mkdir()
    return Store(folder).write(fake_record([2.0, 2.1, 2.0, 2.1, 2.0, 2.1], protocol={"warmups": 0}))[1]


def rewritten(path: Path, record: Record) -> Path:
    """Another record file whose bytes and hash are in order, whatever it says."""
    sealed = record.model_copy(update={"record_id": record.derived_id()})
    other = path.with_name("other.json")
    other.write_bytes(serialize(sealed))
    return other


def test_a_record_as_it_was_written(stored: Path) -> None:
    assert list(verify([stored])) == [(stored, "")]
    assert list(verify([stored.parent, stored])) == [(stored, ""), (stored, "")]


def test_every_byte_counts(stored: Path) -> None:
    content = stored.read_bytes()
    positions = [*range(60), *range(60, len(content), 23), *range(len(content) - 60, len(content))]
    for position in positions:
        for bit in (0, 5):  # bit 5 changes the case of a letter
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            with pytest.raises(DamagedRecordError):
                parse(bytes(flipped))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(data=st.data())
def test_any_change_is_found(stored: Path, data: st.DataObject) -> None:
    content = stored.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 20)))
    changed = content[:start] + data.draw(st.binary(max_size=20)) + content[end:]
    if changed != content:
        with pytest.raises(DamagedRecordError):
            parse(changed)


def test_a_changed_file_is_named(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes().replace(b'"gpus":[]', b'"gpus":[ ]', 1))
    assert list(verify([stored.parent])) == [(stored, "its content does not match its record_id")]


def test_other_figures_with_a_matching_hash_are_found(stored: Path, fake_record: Make) -> None:
    record = fake_record([2.0, 2.1, 2.0, 2.1, 2.0, 2.1], protocol={"warmups": 0})
    assert differences(record) == []
    assert record.summary is not None
    mean_s = record.summary.duration_s.mean
    faster = record.summary.duration_s.model_copy(update={"mean": 1.0})
    summary = record.summary.model_copy(update={"duration_s": faster})
    lie = rewritten(stored, record.model_copy(update={"summary": summary}))
    assert list(verify([lie])) == [(lie, f"summary.duration_s.mean is stored as 1.0, its samples give {mean_s}")]


def test_other_rounding_is_no_difference(fake_record: Make) -> None:
    record = fake_record([2.0, 2.1, 2.0])
    assert record.summary is not None

    def with_mean(factor: float) -> list[str]:
        assert record.summary is not None
        mean = record.summary.duration_s.mean * factor
        quantity = record.summary.duration_s.model_copy(update={"mean": mean})
        summary = record.summary.model_copy(update={"duration_s": quantity})
        return differences(record.model_copy(update={"summary": summary}))

    assert with_mean(1 + 1e-12) == []
    assert len(with_mean(1 + 1e-8)) == 1


def test_other_verdicts_are_found(fake_record: Make) -> None:
    record = fake_record([2.0] * 6, protocol={"warmups": 0})
    clean = record.model_copy(update={"findings": (), "verdict": Verdict.VALID})
    assert differences(clean) == [
        "verdict is stored as valid, its samples give doubtful",
        "findings is stored as [], its samples give ['no_warmup']",
    ]
    assert differences(record.model_copy(update={"cell_id": "sha256:0"})) == [
        f"cell_id is stored as sha256:0, its samples give {record.cell_id}"
    ]
    assert differences(record.model_copy(update={"summary": None})) == [
        "summary is stored as None, its samples give something"
    ]


def test_the_verb(stored: Path, command: Command) -> None:
    good = command("verify", stored.parent)
    assert (good.returncode, good.stdout) == (0, "1 records, 0 of them damaged or different\n")
    stored.write_bytes(stored.read_bytes()[:-2])
    bad = command("verify", stored.parent, stored)
    assert bad.returncode == 1
    assert bad.stdout.splitlines() == [
        f"{stored}: it is no whole record",
        f"{stored}: it is no whole record",
        "2 records, 2 of them damaged or different",
    ]
    missing = command("verify", "nowhere")
    assert missing.returncode == 2
    assert missing.stderr == "error: PATH nowhere: no such file or folder\n"


def test_rewrite(stored: Path, command: Command) -> None:
    """What an older version judged otherwise is stored again under its name; what is damaged stays as it is."""
    record, row = read(stored), stored.with_name(stored.stem.rpartition("_")[0] + ".csv")
    older = record.model_copy(update={"findings": (), "verdict": Verdict.VALID})
    stored.write_bytes(serialize(older.model_copy(update={"record_id": older.derived_id()})))
    row.write_text(row.read_text().replace("doubtful", "valid"))
    damaged = stored.with_name("damaged.json")
    damaged.write_bytes(b"{}")

    assert command("verify", stored.parent).returncode == 1
    mended = command("verify", stored.parent, "--rewrite")
    assert mended.returncode == 1
    assert mended.stdout.splitlines() == [
        f"{damaged}: it is no whole record",
        f"{stored}: verdict is stored as valid, its samples give doubtful; "
        "findings is stored as [], its samples give ['no_warmup']; rewritten",
        "2 records, 1 of them damaged or different",
    ]
    assert read(stored) == record
    assert row.read_text().endswith(",doubtful\n")
    assert damaged.read_bytes() == b"{}"
    assert sorted(file.name for file in stored.parent.iterdir()) == sorted([damaged.name, row.name, stored.name])
    damaged.unlink()
    assert command("verify", stored.parent, "--rewrite").returncode == 0


def test_fail_on(command: Command, fake_model: Callable[..., Path]) -> None:
    asked = (
        *("run", "--engine", "fake", "--model_id_or_path", fake_model(), "--context_length", 5),
        *("--generate_length", 11, "--warmups", 0, "--retry", "all", "--outputs_dir", "out"),
    )
    assert command(*asked).returncode == 0
    assert command(*asked, "--fail_on", "invalid").returncode == 0
    assert command(*asked, "--fail_on", "doubtful").returncode == 1
    assert command(*asked, "--fail-on", "doubtful", "--warmups", 1).returncode == 0
    assert command(*asked, "--fail_on", "nothing").returncode == 2
