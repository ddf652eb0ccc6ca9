"""The rules about whether requests can have been as recorded: each speaks of one record, and passes a near miss."""

from dataclasses import replace
from typing import Any

import pytest

from speed_benchmark.judge.judgement import Judged, Verdict
from speed_benchmark.judge.moments import moments
from speed_benchmark.record.sample import Sample
from tests.judge.judging import Make, again, codes, said, with_samples

DATE = "2026-01-02T03:04:05+00:00"
DATE_S = 1_767_323_045.0
CODES = {"repeated_requests", "overlapping_requests", "other_date"}


def real(found: Judged, **changed: Any) -> Judged:
    """The record as if its clock were not virtual, and its requests had ended when it was made."""
    record = found.record
    assert record.loaded

    def moved(sample: Sample) -> Sample:
        moment_s = DATE_S + sample.started_at_unix_s
        return sample.model_copy(
            update={"started_at_unix_s": moment_s, "ended_at_unix_s": moment_s + sample.duration_s}
        )

    defaults = {
        "loaded": record.loaded.model_copy(update={"simulated": False}),
        "warmups": tuple(map(moved, record.warmups)),
        "samples": tuple(map(moved, record.samples)),
    }
    return again(found, **(defaults | changed))


def in_processes(found: Judged, *samples: Sample) -> Judged:
    """The record with each of `samples` in a process of its own."""
    protocol = replace(found.record.cell.protocol, processes=len(samples), repeats=1)
    moved = tuple(sample.model_copy(update={"process": process}) for process, sample in enumerate(samples))
    return again(found, cell=replace(found.record.cell, protocol=protocol), samples=moved)


def test_requests_as_they_should_be(fake_record: Make) -> None:
    honest = real(fake_record([2.0] * 6))
    assert not CODES & set(codes(honest))
    assert len(moments(honest.record)) == 6


def test_the_virtual_clock_starts_anew_in_each_process(fake_record: Make) -> None:
    three = fake_record([2.0] * 3, [2.0] * 3, [2.0] * 3)
    assert not CODES & set(codes(three))
    assert moments(three.record) == frozenset()


@pytest.mark.attack("1.17", "4.6")
def test_one_request_as_three_processes(fake_record: Make) -> None:
    honest = real(fake_record([2.0] * 6))
    one, two, *_ = honest.record.samples
    found = in_processes(honest, one, one, one)
    assert said(found, "repeated_requests") == [("invalid", {"repeated": 2, "requests": 4})]
    assert found.judgement.verdict is Verdict.INVALID
    assert not said(in_processes(honest, one, two), "repeated_requests")


@pytest.mark.attack("4.7")
def test_the_fastest_requests_twice_over(fake_record: Make) -> None:
    honest = real(fake_record([2.0, 2.1, 2.2, 2.3, 2.4, 2.5]))
    fastest = honest.record.samples[:3]
    assert said(again(honest, samples=fastest * 2), "repeated_requests") == [
        ("invalid", {"repeated": 3, "requests": 7})
    ]
    # moved by a little they are no longer the same, and can't have been either
    moved = tuple(sample.model_copy(update={"duration_s": sample.duration_s + 0.001}) for sample in fastest)
    found = again(honest, samples=(*fastest, *moved))
    assert not said(found, "repeated_requests")
    assert said(found, "overlapping_requests")


def test_a_warmup_as_a_repeat(fake_record: Make) -> None:
    honest = real(fake_record([2.0] * 6))
    found = again(honest, samples=(*honest.record.warmups, *honest.record.samples[1:]))
    assert said(found, "repeated_requests")


@pytest.mark.attack("4.7")
@pytest.mark.parametrize(("early_s", "found"), [(0.9e-6, False), (1.1e-6, True)])
def test_overlapping_requests_by_the_measurements_clock(fake_record: Make, early_s: float, found: bool) -> None:
    honest = fake_record([2.0] * 6)
    start_s = honest.record.samples[1].started_at_s or 0
    early = with_samples(honest, {}, {"started_at_s": start_s - early_s})
    assert said(early, "overlapping_requests") == (
        [("invalid", {"process": 1, "overlaps": 1, "requests": 7})] if found else []
    )


@pytest.mark.parametrize(("early_s", "found"), [(0.0299, False), (0.0301, True)])
def test_overlapping_requests_by_the_systems_clock(fake_record: Make, early_s: float, found: bool) -> None:
    """It is looked at where the other one is not there; 10 ms and 1 % of 2 s are let pass."""
    honest = real(fake_record([2.0] * 6))
    changed: list[dict[str, Any]] = [{"started_at_s": None}] * 6
    changed[1] = changed[1] | {"started_at_unix_s": honest.record.samples[1].started_at_unix_s - early_s}
    assert bool(said(with_samples(honest, *changed), "overlapping_requests")) is found


def test_requests_of_other_processes_may_overlap(fake_record: Make) -> None:
    honest = real(fake_record([2.0] * 6))
    one, two, *_ = honest.record.samples
    early = two.model_copy(update={"started_at_s": one.started_at_s, "started_at_unix_s": one.started_at_unix_s + 0.5})
    assert not said(in_processes(honest, one, early), "overlapping_requests")


@pytest.mark.attack("1.30")
@pytest.mark.parametrize(
    ("created_at", "days"),
    [
        (DATE, None),
        ("2026-01-01T03:05:00+00:00", None),
        ("2026-01-03T03:04:05+00:00", None),
        ("2026-01-01T03:00:00+00:00", 1.0),
        ("2019-01-02T03:04:05+00:00", 2557.0),
        ("2099-01-02T03:04:05+00:00", 26663.0),
    ],
)
def test_a_date_that_is_not_that_of_the_requests(fake_record: Make, created_at: str, days: float | None) -> None:
    found = real(fake_record([2.0] * 6), created_at=created_at)
    expected = [("note", {"created_at": created_at, "days": pytest.approx(days, abs=0.01)})] if days else []
    assert said(found, "other_date") == expected


def test_a_record_without_requests_has_no_other_date(fake_record: Make) -> None:
    assert not said(
        real(fake_record([2.0] * 6), samples=(), warmups=(), created_at="2099-01-02T03:04:05+00:00"), "other_date"
    )
