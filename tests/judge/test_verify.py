"""Stored records: any changed byte of the evidence is found, and what this version judges otherwise is told."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speed_benchmark.errors import UserError
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.judge.verify import State, Verified, differences, verify
from speed_benchmark.record.folder import content_of
from speed_benchmark.record.format import serialize
from speed_benchmark.record.store import Store
from tests.judge.judging import Make, summary_of

SCHEMA_1 = Path(__file__).parents[1] / "record" / "schema1.zip"


@pytest.fixture
def doubted(fake_record: Make) -> Judged:
    """A record with a summary, an interval and a finding."""
    return fake_record([2.0, 2.1, 2.0, 2.1, 2.0, 2.1], protocol={"warmups": 0})


@pytest.fixture
def stored(doubted: Judged, tmp_path: Path) -> Path:
    """The file that it is stored in, with its judgement."""
    folder = tmp_path / "records"
    folder.mkdir()
    return Store(folder).write(doubted.record, dump(doubted))[1]


def dump(found: Judged) -> dict[str, Any]:
    dumped: dict[str, Any] = found.judgement.model_dump(mode="json")
    return dumped


def only(path: Path) -> Verified:
    (found,) = verify([path])
    return found


def rejudged(stored: Path, change: Callable[[dict[str, Any]], object]) -> Verified:
    """What is found of the same file with another judgement in it."""
    content = stored.read_bytes()
    start = content.rindex(b',"judgement":') + len(b',"judgement":')
    judgement = json.loads(content[start:-2])
    change(judgement)
    stored.write_bytes(content[:start] + json.dumps(judgement).encode() + b"}\n")
    return only(stored)


def test_a_record_as_it_was_written_is_sound(stored: Path) -> None:
    assert list(verify([stored])) == [Verified(stored, State.SOUND)]


def test_a_record_without_a_judgement_is_sound(doubted: Judged, tmp_path: Path) -> None:
    _, path = Store(tmp_path).write(doubted.record)
    assert only(path) == Verified(path, State.SOUND)


def test_each_file_is_read_once(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def counted(path: Path) -> bytes:
        reads.append(path)
        return content_of(path)

    monkeypatch.setattr("speed_benchmark.judge.verify.content_of", counted)
    link = stored.with_name("link.json")
    link.symlink_to(stored)
    assert [found.state for found in verify([stored.parent, stored, stored.parent, link])] == [State.SOUND]
    assert len(reads) == 1


def test_a_path_that_is_not_there(stored: Path) -> None:
    with pytest.raises(UserError, match="PATH nowhere: no such file or folder"):
        list(verify([stored, Path("nowhere")]))


def test_a_changed_file_is_damaged(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes().replace(b'"gpus":[]', b'"gpus":[ ]', 1))
    assert only(stored) == Verified(stored, State.DAMAGED, "its content does not match its record_id")
    stored.write_bytes(stored.read_bytes()[:-2])
    assert only(stored) == Verified(stored, State.DAMAGED, "it is no whole record")


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "null.json").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.json")
    assert [(found.path.name, found.state, found.detail) for found in verify([tmp_path])] == [
        ("gone.json", State.OTHER, "it is a link that leads nowhere"),
        ("null.json", State.OTHER, "it is no regular file"),
        ("pipe.json", State.OTHER, "it is no regular file"),
    ]


@pytest.mark.parametrize("content", ["{}", "[1]", '{"rows":[]}', '"text"'])
def test_json_that_is_no_record_is_passed_over(stored: Path, content: str) -> None:
    """Such as a report or a chart beside the records."""
    other = stored.with_name("zz_report.json")
    other.write_text(content)
    assert list(verify([stored.parent])) == [
        Verified(stored, State.SOUND),
        Verified(other, State.OTHER, "it is no record"),
    ]


def test_every_byte_of_the_evidence_counts(stored: Path) -> None:
    content = stored.read_bytes()
    evidence = content.rindex(b',"judgement":') + len(b',"judgement":{')
    for position in [*range(60), *range(60, evidence, 23), *range(evidence - 60, evidence), len(content) - 2]:
        for bit in (0, 5):  # bit 5 changes the case of a letter
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            stored.write_bytes(flipped)
            assert only(stored).state in {State.DAMAGED, State.OTHER}, position


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(data=st.data())
def test_whatever_stands_in_place_of_the_judgement_breaks_nothing(stored: Path, data: st.DataObject) -> None:
    content = stored.read_bytes()
    judgement = content.rindex(b',"judgement":') + len(b',"judgement":{')
    start = data.draw(st.integers(judgement, len(content) - 2))
    end = data.draw(st.integers(start, min(len(content) - 2, start + 20)))
    changed = stored.with_name("changed.json")
    changed.write_bytes(content[:start] + data.draw(st.binary(max_size=20)) + content[end:])
    assert only(changed).state is not State.OTHER


@pytest.mark.parametrize("rest", [b'"verdict":"val', b'"verdict":tru}', b"\xff}"])
def test_a_judgement_that_is_no_json_is_damaged(stored: Path, rest: bytes) -> None:
    content = stored.read_bytes()
    start = content.rindex(b',"judgement":') + len(b',"judgement":{')
    stored.write_bytes(content[:start] + rest + b"}\n")
    assert only(stored) == Verified(stored, State.DAMAGED, "it is not JSON")


def test_another_number_is_told(stored: Path, doubted: Judged) -> None:
    found = rejudged(stored, lambda judgement: judgement["summary"]["duration_s"].update(mean=1.0))
    mean_s = summary_of(doubted).duration_s.mean
    assert found == Verified(stored, State.JUDGED_OTHERWISE, f"summary.duration_s.mean was 1.0, is {mean_s}")


@pytest.mark.parametrize(("factor", "state"), [(1 + 1e-12, State.SOUND), (1 + 1e-8, State.JUDGED_OTHERWISE)])
def test_other_rounding_is_no_difference(stored: Path, factor: float, state: State) -> None:
    def scaled(judgement: dict[str, Any]) -> None:
        judgement["summary"]["duration_s"]["mean"] *= factor

    assert rejudged(stored, scaled).state is state


def test_what_only_one_side_has_is_no_difference(stored: Path) -> None:
    def later(judgement: dict[str, Any]) -> None:
        judgement["reviewed"] = True
        judgement["summary"]["time_per_output_token_s"] = 0.5
        judgement["findings"][0]["values"]["added"] = 1

    assert rejudged(stored, later).state is State.SOUND
    assert rejudged(stored, lambda judgement: judgement["summary"].pop("sequence_decode_tokens_per_s")) == Verified(
        stored, State.SOUND
    )


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"verdict": "valid"}, "verdict was valid, is doubtful"),
        ({"findings": []}, "no_warmup was not found, is found"),
        (
            {"findings": [{"code": "no_warmup", "severity": "note", "values": {}}]},
            "no_warmup.severity was note, is doubtful",
        ),
        (
            {
                "findings": [
                    {"code": "from_later", "severity": "note", "values": {}},
                    {"code": "no_warmup", "severity": "doubtful", "values": {}},
                ]
            },
            "from_later was found, is not found",
        ),
        (
            {"findings": [{"code": "no_warmup", "severity": "doubtful", "values": {}}] * 2},
            "no_warmup was found, is not found",
        ),
        ({"findings": "none", "verdict": 1}, "verdict was 1, is doubtful; no_warmup was not found, is found"),
        ({"summary": 3}, "summary was 3, is something else"),
        ({"summary": {"predicted": 0}}, "summary.predicted was 0, is False"),
    ],
)
def test_other_verdicts_and_findings_are_told(stored: Path, change: dict[str, Any], detail: str) -> None:
    found = rejudged(stored, lambda judgement: judgement.update(change))
    assert found == Verified(stored, State.JUDGED_OTHERWISE, detail)


def test_other_values_of_a_finding_are_told(fake_record: Make) -> None:
    slow = dump(fake_record([3.0, 2.0, 2.0]))
    other = json.loads(json.dumps(slow))
    other["findings"][0]["values"]["needed"] = 7
    assert differences(slow, slow) == []
    assert differences(other, slow) == ["slow_first_repeat.values.needed was 7, is 2"]


def test_numbers_no_float_can_hold_are_no_trouble(fake_record: Make) -> None:
    known = dump(fake_record([2.0] * 3))
    huge = json.loads(json.dumps(known))
    huge["summary"]["duration_s"]["mean"] = 10**400
    assert len(differences(huge, known)) == 1


def test_a_record_of_schema_1_has_no_judgement_to_compare(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(SCHEMA_1) as archive:
        archive.extractall(tmp_path)
    states = {found.state for found in verify([tmp_path])}
    assert states == {State.SOUND}


def test_a_file_without_the_id_first_is_no_record_of_this_schema(doubted: Judged, tmp_path: Path) -> None:
    file = tmp_path / "sorted.json"
    file.write_text(json.dumps(dict(sorted(json.loads(serialize(doubted.record)).items()))))
    assert only(file).state is State.DAMAGED
