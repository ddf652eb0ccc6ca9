"""Samples that were edited, judged and sealed again: what can't have been is found, and what remains is bounded.

Nobody can prove a whole made-up record wrong; here is what a person can't do who only edits a true one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Verdict
from speed_benchmark.record.folder import read
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample
from tests.attacks.forge import forged

RESULTS = Path(__file__).parents[2] / "results" / "nvidia-h200"
# How much faster the forger makes it.
FACTOR = 1.2

Forge = Callable[[Record], dict[str, Any]]


def faster(sample: Sample, **changed: Any) -> Sample:
    sequences = tuple(
        one.model_copy(update={"token_times_s": tuple(time_s / FACTOR for time_s in one.token_times_s)})
        for one in sample.sequences
    )
    return sample.model_copy(
        update={"duration_s": sample.duration_s / FACTOR, "sequences": sequences, "readings": None} | changed
    )


def all_but_the_last(record: Record) -> dict[str, Any]:
    return {"samples": (*map(faster, record.samples[:-1]), record.samples[-1])}


def all_with_the_last_ones_clock_to_suit(record: Record) -> dict[str, Any]:
    last = record.samples[-1]
    assert last.started_at_s
    later_s = last.started_at_s + last.duration_s * (1 - 1 / FACTOR)
    return {"samples": (*map(faster, record.samples[:-1]), faster(last, started_at_s=later_s))}


def the_fastest_twice_over(record: Record) -> dict[str, Any]:
    fastest = sorted(record.samples, key=lambda sample: sample.duration_s)
    return {"samples": tuple(fastest[index // 2] for index in range(len(record.samples)))}


def without_starts_and_readings(record: Record) -> dict[str, Any]:
    samples = tuple(faster(sample, started_at_s=None) for sample in record.samples)
    return {"warmups": (), "samples": samples}


def with_another_date(_: Record) -> dict[str, Any]:
    return {"created_at": "2031-01-01T00:00:00+00:00"}


@pytest.fixture(scope="module")
def source() -> Path:
    return next(path for path in sorted(RESULTS.glob("*.json")) if judge(read(path)).verdict is Verdict.VALID)


@pytest.mark.attack("4.7")
@pytest.mark.parametrize(
    ("forge", "codes", "verdict"),
    [
        (all_but_the_last, ["clocks"], Verdict.INVALID),
        (all_with_the_last_ones_clock_to_suit, ["clocks"], Verdict.INVALID),
        (the_fastest_twice_over, ["repeated_requests", "overlapping_requests"], Verdict.INVALID),
        (without_starts_and_readings, ["clocks"], Verdict.INVALID),
        (with_another_date, ["other_date"], Verdict.VALID),
    ],
)
def test_samples_that_were_edited(
    source: Path, tmp_path: Path, forge: Forge, codes: Sequence[str], verdict: Verdict
) -> None:
    honest = read(source)
    known = {finding.code for finding in judge(honest).findings}
    judgement = judge(forged(source, tmp_path / "forged.json", **forge(honest)))
    assert set(codes) <= {finding.code for finding in judgement.findings} - known
    assert judgement.verdict is verdict
