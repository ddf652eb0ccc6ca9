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
    noted = fake_record([2.0, 2.0, 2.0])
    assert [finding.severity for finding in noted.judgement.findings] == [Severity.NOTE]
    assert noted.judgement.verdict is Verdict.VALID


def test_the_worst_finding_decides(fake_record: Make) -> None:
    doubtful = fake_record([2.0, 2.0, 2.0], protocol={"warmups": 0})
    assert doubtful.judgement.verdict is Verdict.DOUBTFUL
    assert doubtful.is_measured
    invalid = fake_record([2.0, 2.0, 2.0], protocol={"warmups": 0}, prefix_caching=True)
    assert invalid.judgement.verdict is Verdict.INVALID
    assert not invalid.is_measured


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
    assert codes(empty) == ["missing_repeats"]
