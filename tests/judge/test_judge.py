"""From findings to one verdict; what ran and how it ended is never changed by it."""

import pytest

from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Judged, Severity, Verdict
from speed_benchmark.record.outcome import Outcome
from tests.judge.judging import Make, again, codes


def test_a_steady_record_has_nothing_to_doubt(fake_record: Make) -> None:
    steady = fake_record([2.0, 2.01, 1.99, 2.02, 1.98, 2.0])
    assert steady.judgement.findings == ()
    assert steady.judgement.verdict is Verdict.VALID
    assert steady.is_measured


def test_notes_leave_a_record_valid(fake_record: Make) -> None:
    noted = fake_record([2.0, 2.001, 2.0, 2.2, 2.0, 2.0, 2.001])  # one is an outlier
    assert [finding.severity for finding in noted.judgement.findings] == [Severity.NOTE]
    assert noted.judgement.verdict is Verdict.VALID


def test_the_worst_finding_decides(fake_record: Make) -> None:
    doubtful = fake_record([2.0, 2.0, 2.0], protocol={"warmups": 0})
    assert doubtful.judgement.verdict is Verdict.DOUBTFUL
    assert doubtful.is_measured
    invalid = fake_record([2.0, 2.0, 2.0], protocol={"warmups": 0}, prefix_caching=True)
    assert invalid.judgement.verdict is Verdict.INVALID
    assert not invalid.is_measured


def test_each_quantity_has_a_verdict_of_its_own(fake_record: Make) -> None:
    """The first token comes after 0.5 s or so in each request, all else at one pace."""
    requests = {number: (first_s, 0.1) for number, first_s in enumerate((0.5, 0.5, 0.4, 0.7))}
    found = fake_record(requests=requests)
    assert codes(found) == ["wide_first_token"]
    assert found.judgement.verdict is Verdict.VALID
    assert found.judgement.verdicts == {
        "speed": Verdict.VALID,
        "time_to_first_token": Verdict.DOUBTFUL,
        "percentiles": Verdict.VALID,
        "memory": Verdict.VALID,
    }


def test_the_verdict_is_that_of_the_speed(fake_record: Make) -> None:
    wide = fake_record([2.0, 2.2, 2.4])
    assert wide.judgement.verdict is wide.judgement.verdicts["speed"] is Verdict.DOUBTFUL
    assert wide.judgement.verdicts["memory"] is Verdict.VALID


def test_what_is_invalid_is_invalid_in_all(fake_record: Make) -> None:
    for found in (fake_record([2.0] * 3, prefix_caching=True), fake_record([2.0] * 3, outcome=Outcome.TIMEOUT)):
        assert set(found.judgement.verdicts.values()) == {Verdict.INVALID}


def test_a_judgement_leaves_the_outcome_alone(fake_record: Make) -> None:
    assert fake_record([2.0] * 3, prefix_caching=True).record.outcome is Outcome.OK


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.OK}))
def test_what_did_not_end_well_is_invalid_without_a_finding(fake_record: Make, outcome: Outcome) -> None:
    failed = fake_record([2.0] * 6, outcome=outcome)
    assert (failed.judgement.verdict, failed.judgement.findings) == (Verdict.INVALID, ())
    assert failed.record.outcome is outcome
    assert not failed.is_measured


def test_judging_again_changes_nothing(fake_record: Make) -> None:
    for one in (fake_record([2.0, 9.0, 2.0]), fake_record([2.0] * 3, prefix_caching=True)):
        assert Judged(one.record, judge(one.record)) == one


def test_a_record_without_samples_is_judged(fake_record: Make) -> None:
    empty = again(fake_record([2.0] * 3), samples=(), warmups=(), loaded=None, outcome=Outcome.OK)
    assert empty.judgement.summary is None
    assert empty.judgement.verdicts == {}
    assert codes(empty) == ["missing_repeats"]
