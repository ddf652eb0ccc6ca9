"""What may change without harm to what is stored: texts, rules, optional statistics. Evidence stands by itself."""

from pathlib import Path

import pytest
from pydantic import Field

from speed_benchmark import texts
from speed_benchmark.judge import judge, rules, statistics
from speed_benchmark.judge.judgement import Judgement, Severity, Summary
from speed_benchmark.judge.rules.rule import Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.judge.texts import text
from speed_benchmark.judge.verify import State, verify
from speed_benchmark.record.format import judgement, parse, seal, serialize
from speed_benchmark.record.record import Record
from speed_benchmark.texts import Domain, Language

RESULTS = Path(__file__).parents[2] / "results"
FILES = sorted(RESULTS.rglob("*.json"))


class LaterSummary(Summary):
    """A summary of a later version."""

    time_per_output_token_s: float = Field(default=0.25, description="a statistic that was added")


class LaterJudgement(Judgement):
    """A judgement of a later version."""

    summary: LaterSummary | None = None


@rule("added", Severity.INVALID)
def added(seen: Seen) -> Found:
    """A rule that was added, and speaks of every record."""
    yield {"samples": len(seen.record.samples)}


def reword(monkeypatch: pytest.MonkeyPatch) -> None:
    real = texts.catalogue

    def other(language: Language, domain: Domain) -> dict[str, str]:
        return {message: f"in other words, {said}" for message, said in real(language, domain).items()}

    monkeypatch.setattr(texts, "catalogue", other)


def add_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "RULES", (*rules.RULES, added))


def add_a_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "Summary", LaterSummary)
    monkeypatch.setattr(judge, "Judgement", LaterJudgement)


CHANGES = (reword, add_a_rule, add_a_statistic)


@pytest.fixture(params=FILES, ids=lambda path: f"{path.parent.name}/{path.stem[-8:]}")
def stored(request: pytest.FixtureRequest) -> tuple[Path, Record, State]:
    """A file of results/, its record, and what verify finds of it."""
    (found,) = verify([request.param])
    return request.param, parse(request.param.read_bytes()), found.state


def test_there_are_results() -> None:
    assert FILES


@pytest.mark.parametrize("change", CHANGES)
def test_a_stored_record_is_the_same(
    stored: tuple[Path, Record, State], change: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, record, state = stored
    assert state is not State.DAMAGED
    assert callable(change)
    change(monkeypatch)
    assert parse(path.read_bytes()) == record
    (found,) = verify([path])
    compared = bool(judgement(path.read_bytes()))
    assert found.state is (State.JUDGED_OTHERWISE if change is add_a_rule and compared else state)


def test_the_changes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above would find out."""
    record = parse(FILES[0].read_bytes())
    before = judge.judge(record)
    said = text(before.findings[0], "en")
    for change in CHANGES:
        change(monkeypatch)
    after = judge.judge(record)
    assert after.findings[:-1] == before.findings
    assert after.findings[-1].code == "added"
    assert after.model_dump()["summary"]["time_per_output_token_s"] == 0.25
    assert text(after.findings[0], "en") == f"in other words, {said}"


def test_an_older_version_reads_what_a_later_one_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = seal(parse(FILES[0].read_bytes()))
    with monkeypatch.context() as later:
        add_a_rule(later)
        add_a_statistic(later)
        dumped = judge.judge(record).model_dump(mode="json")
    file = tmp_path / "later.json"
    file.write_bytes(serialize(record, dumped))
    assert parse(file.read_bytes()) == record
    (found,) = verify([file])
    assert found.state is State.JUDGED_OTHERWISE
    assert "added was found, is not found" in found.detail
