"""Which stored records answer for a cell, which are passed over and why, and what is said of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import Cell, EngineSettings
from speed_benchmark.engines.settings import Traits
from speed_benchmark.errors import UserError
from speed_benchmark.judge.judge import judge
from speed_benchmark.models import source
from speed_benchmark.record.folder import content_of
from speed_benchmark.record.format import parse
from speed_benchmark.record.machine import Gpu
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from speed_benchmark.run import resume
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.resume import Survey, missing, summary, survey
from speed_benchmark.testing.fake import FakeSettings
from tests.run import made

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Group = list[LoadGroup]


def measured(length: int = 5, **options: Any) -> Cell:
    """A cell of as many repeats as an interval needs, so that its speed is not doubted for having fewer."""
    return made.cell(length, **{"repeats": 3, **options})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def put(store: Store, *records: Record) -> None:
    for record in records:
        store.write(record, judge(record).model_dump(mode="json"))


def group(*cells: Cell) -> Group:
    return [LoadGroup(cells, ())]


def look(store: Store, groups: Group, **policy: Any) -> Survey:
    return survey(groups, store, Policy(**policy), lambda *_: None)


def elsewhere(record: Record) -> Record:
    gpu = Gpu(index=0, name="NVIDIA H200", memory_bytes=141 * 2**30)
    return record.model_copy(update={"machine": record.machine.model_copy(update={"gpus": (gpu,)})})


def test_what_is_there_answers(store: Store) -> None:
    put(store, made.record(measured(5)))
    found = look(store, group(measured(5), measured(6)))
    assert [(one.cell_id, one.outcome, one.is_new) for one in found.found] == [(measured(5).cell_id, Outcome.OK, False)]
    assert list(found.lines()) == []
    assert [one.cells for one in missing(group(measured(5), measured(6)), found.found, 1)] == [(measured(6),)]


@pytest.mark.attack("1.4", "1.5", "1.6")
@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_lasting_outcomes_answer(store: Store, outcome: Outcome) -> None:
    """What may go otherwise at another try is tried again by the same command."""
    record = made.record(measured(), outcome)
    put(store, record.model_copy(update={"cause": Cause(message="so")}))
    found = look(store, group(measured()))
    lasting = {Outcome.OK, Outcome.OOM, Outcome.SKIPPED, Outcome.TOO_LONG, Outcome.UNSUPPORTED}
    assert bool(found.found) == (outcome in lasting)
    assert list(found.lines()) == ([] if outcome in lasting else [f"1 record passed over: {outcome}"])


@pytest.mark.attack("1.1")
def test_another_machine_does_not_answer(store: Store) -> None:
    put(store, *(elsewhere(made.record(measured(length))) for length in (5, 6, 7)))
    cells = group(*(measured(length) for length in (5, 6, 7)))
    found = look(store, cells)
    assert found.found == ()
    (line,) = found.lines()
    assert line.startswith("3 records passed over: measured on another machine, GPUs: 1 x NVIDIA H200")
    assert len(look(store, cells, accept="other-machines").found) == 3


@pytest.fixture
def engine_version(monkeypatch: pytest.MonkeyPatch) -> str:
    """The fake engine stands on a package that is installed here in this version."""
    traits = Traits(title="Fake", packages=("fake-engine", "torch-like"))
    monkeypatch.setattr(FakeSettings, "traits", traits)
    monkeypatch.setattr(resume, "installed", lambda _: {"fake-engine": "2.0"})
    return "2.0"


@pytest.mark.attack("1.1")
def test_another_version_of_the_engine_does_not_answer(store: Store, engine_version: str) -> None:
    put(store, made.record(measured(), packages={"fake-engine": "0.1"}))
    found = look(store, group(measured()))
    assert found.found == ()
    assert list(found.lines()) == ["1 record passed over: measured with fake-engine 0.1, here is fake-engine 2.0"]
    assert len(look(store, group(measured()), accept="other-machines,other-versions").found) == 1
    put(store, made.record(measured(), packages={"fake-engine": engine_version, "unrelated": "7"}))
    assert len(look(store, group(measured())).found) == 1


@pytest.mark.usefixtures("engine_version")
def test_a_package_that_only_one_of_them_has_is_another_version(store: Store) -> None:
    put(store, made.record(measured(), packages={"fake-engine": "2.0", "torch-like": "1"}))
    assert list(look(store, group(measured())).lines()) == [
        "1 record passed over: measured with torch-like 1, here is no torch-like"
    ]


def test_what_was_measured_otherwise_does_not_answer(store: Store) -> None:
    record = made.record(measured())
    older = record.provenance.model_copy(update={"measurement_version": 0, "tool_version": "0.1.0"})
    put(store, record.model_copy(update={"provenance": older}))
    (line,) = look(store, group(measured())).lines()
    assert "speed-benchmark 0.1.0 measured otherwise" in line


@pytest.mark.attack("1.2")
def test_other_weights_in_the_same_folder_do_not_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, made.record(measured(), digest="sha256:1"))
    monkeypatch.setattr(source, "weights_digest", lambda *_: "sha256:2")
    (line,) = look(store, group(measured())).lines()
    assert "other weights" in line
    monkeypatch.setattr(source, "weights_digest", lambda *_: "sha256:1")
    assert len(look(store, group(measured())).found) == 1
    monkeypatch.setattr(source, "weights_digest", lambda *_: None)
    assert len(look(store, group(measured())).found) == 1, "of a model on a hub nothing is known here"


def test_weights_are_hashed_once_a_model(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [measured(length) for length in range(5, 15)]
    put(store, *(made.record(cell, digest="sha256:2") for cell in cells))
    asked: list[object] = []

    def digest(model: object, _: object) -> str:
        asked.append(model)
        return "sha256:2"

    monkeypatch.setattr(source, "weights_digest", digest)
    assert len(look(store, group(*cells)).found) == 10
    assert len(asked) == 1


def short(record: Record) -> Record:
    """`record` with a token too few in its last request."""
    *samples, last = record.samples
    (sequence,) = last.sequences
    less = sequence.model_copy(update={"output_tokens": sequence.output_tokens - 1})
    return record.model_copy(update={"samples": (*samples, last.model_copy(update={"sequences": (less,)}))})


def put_of_each_kind(store: Store) -> Group:
    """A valid record, a doubtful one, an invalid one and a failed one, at inputs 1 to 4."""
    cells = [measured(1), measured(2, warmups=0), measured(3), measured(4)]
    put(store, made.record(cells[0]), made.record(cells[1]), short(made.record(cells[2])))
    put(store, made.record(cells[3], Outcome.OOM))
    return group(*cells)


@pytest.mark.parametrize(
    ("retry", "answering"), [(None, [1, 2, 3, 4]), ("failed", [1, 2]), ("doubtful", [1, 4]), ("all", [])]
)
def test_retry(store: Store, retry: str | None, answering: list[int]) -> None:
    cells = put_of_each_kind(store)
    found = look(store, cells, retry=retry)
    lengths = {cell.cell_id: cell.workload.context_length for cell in cells[0].cells}
    assert sorted(lengths[one.cell_id] for one in found.found) == answering
    assert list(found.lines()) == [], "who asks for it need not be told"


def test_what_was_skipped_is_run_with_no_skip(store: Store) -> None:
    skipped = made.record(measured(), Outcome.SKIPPED)
    put(store, skipped.model_copy(update={"cause": Cause(kind="cannot_fit", message="no")}))
    assert len(look(store, group(measured())).found) == 1
    assert look(store, group(measured()), no_skip=True).found == ()


@pytest.mark.attack("1.3")
def test_the_judgement_in_the_file_is_not_believed(store: Store) -> None:
    """Nothing vouches for it; and it may be one of older rules."""
    store.write(short(made.record(measured())), {"verdict": "valid", "findings": []})
    (one,) = look(store, group(measured())).found
    assert one.verdict == "invalid"
    assert "token_counts" in one.codes


def test_the_newest_that_ran_to_its_end_answers(store: Store) -> None:
    failed = made.record(measured(), Outcome.OOM, NOON + timedelta(hours=5))
    records = [made.record(measured(), Outcome.OK, NOON + timedelta(hours=hour)) for hour in (2, 3, 1)]
    put(store, failed, *records)
    (one,) = look(store, group(measured())).found
    assert one.created_at == (NOON + timedelta(hours=3)).isoformat()
    assert len(look(store, group(measured()), rounds=3).found) == 3
    assert len(look(store, group(measured()), rounds=9).found) == 4


def test_each_file_is_read_once_and_only_what_is_asked_for_is_parsed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, *(made.record(measured(length)) for length in range(1, 21)))
    read: list[Path] = []
    parsed: list[bytes] = []

    def counted_read(path: Path) -> bytes:
        read.append(path)
        return content_of(path)

    def counted_parse(content: bytes) -> Record:
        parsed.append(content)
        return parse(content)

    monkeypatch.setattr(resume, "content_of", counted_read)
    monkeypatch.setattr(resume, "parse", counted_parse)
    assert len(look(store, group(measured(5))).found) == 1
    assert len(read) == len(set(read)) == 20
    assert len(parsed) == 1


def test_greedy_answers_are_taken_in_on_the_way(store: Store) -> None:
    assert look(store, group(measured())).answers is None
    cell = measured(sampling="greedy")
    others = replace(cell, settings=EngineSettings(engine="another"))
    put(store, made.record(others, digest="sha256:1"))
    answers = look(store, group(measured(6, sampling="greedy")), retry="all").answers
    assert answers is not None
    agreement = answers.agreement(made.record(cell, digest="sha256:1"))
    assert agreement is not None
    assert (agreement.engine, agreement.agreed) == ("another", 4)


def test_who_measures_all_again_does_not_read_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, made.record(measured()))
    monkeypatch.setattr(resume, "content_of", lambda _: pytest.fail("read"))
    assert look(store, group(measured()), retry="all").found == ()


def test_what_is_no_record_is_left_alone(store: Store) -> None:
    (store.folder / "report.json").write_text('{"title": "a report"}')
    (store.folder / "broken.json").write_text('{"record_id":"sha256:')
    put(store, made.record(measured()))
    assert len(look(store, group(measured())).found) == 1


@pytest.mark.parametrize("accept", ["other-machine", "all", "other-machines;other-versions", ""])
def test_what_can_be_accepted(accept: str) -> None:
    with pytest.raises(UserError, match="--accept"):
        Policy(accept=accept)


def test_accept_takes_a_list() -> None:
    assert Policy(accept="other-machines, other_versions").accepted == ["other-machines", "other-versions"]
    assert Policy(accept=("other-versions",)).accepted == ["other-versions"]
    assert Policy().accepted == []


class TestSummary:
    """One sentence on what is there already."""

    def test_one_that_is_doubtful(self, store: Store) -> None:
        now = datetime.now(UTC)
        cell = measured(warmups=0)
        put(store, made.record(cell, created_at=now))
        found = look(store, group(cell)).found
        assert summary(found, 1) == (
            f"stored already: 1 of 1 (measured {now.astimezone():%H:%M}, doubtful: no_warmup); nothing to do; "
            "--retry doubtful measures again"
        )

    def test_another_day(self, store: Store) -> None:
        put(store, made.record(measured(), created_at=NOON))
        found = look(store, group(measured())).found
        day = f"{NOON.astimezone():%Y-%m-%d}"
        assert summary(found, 1) == (
            f"stored already: 1 of 1 (measured {day}, valid); nothing to do; --retry all measures again"
        )
        assert summary(found, 3) == f"stored already: 1 of 3 (measured {day}, valid); 2 to measure"

    def test_a_sweep(self, store: Store) -> None:
        found = look(store, put_of_each_kind(store)).found
        said = summary(found, 4)
        assert said.startswith("stored already: 4 of 4 (measured 2026-01-0")
        assert all(part in said for part in ("1 valid", "1 doubtful", "1 invalid", "1 oom"))
        assert said.endswith("nothing to do; --retry failed measures again")
