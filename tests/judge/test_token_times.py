"""What sets the pace by the times of tokens alone: made-up ones, and real ones of machines that the bounds did not see.

`gaps.json` has the first 800 gaps and the last one of one repeat each, of records made on three machines. The bounds
come from the first (nvidia-h200); the labels are those of an analysis of the whole records by other means too: the
slope of attention in the gaps, the same host's pace in a smaller model, and the spread of the repeats.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from speed_benchmark.judge.token_times import (
    BLOCK_TOKENS,
    DEVICE_AUTOCORRELATION,
    HOST_AUTOCORRELATION,
    SETTLING_TOKENS,
    Signatures,
    signatures,
)
from speed_benchmark.record.record import Record
from tests.judge.judging import Make

REAL = json.loads((Path(__file__).parent / "gaps.json").read_text())


def of_gaps(
    record: Record, gaps_s: Sequence[float] | NDArray[np.float64], prompt_tokens: int = 5, block: int | None = 16
) -> Signatures | None:
    """The signatures of a request with such gaps after its first token."""
    times_s = tuple(np.concatenate([[0.5], 0.5 + np.cumsum(gaps_s)]).tolist())
    (sequence,) = record.samples[0].sequences
    told = sequence.model_copy(update={"token_times_s": times_s, "prompt_tokens": prompt_tokens})
    assert record.loaded is not None
    loaded = record.loaded.model_copy(update={"kv_cache_block_tokens": block})
    sample = record.samples[0].model_copy(update={"sequences": (told,), "duration_s": times_s[-1]})
    return signatures(record.model_copy(update={"samples": (sample,), "loaded": loaded}))


@pytest.mark.parametrize("real", REAL, ids=[f"{one['folder']}-{one['record']}" for one in REAL])
def test_real_token_times(fake_record: Make, real: dict[str, Any]) -> None:
    gaps_s = np.asarray(real["gaps_us"]) / 1e6
    found = of_gaps(fake_record([2.0]).record, gaps_s, real["prompt_tokens"], real["block_tokens"])
    assert found is not None
    assert found.pace == real["pace"]


def test_jitter_of_times_is_the_devices(fake_record: Make) -> None:
    """Each token is seen a little late, by itself: neighbouring gaps have an autocorrelation of -1/2."""
    late_s = np.random.default_rng(0).uniform(0, 1e-4, 2001)
    found = of_gaps(fake_record([2.0]).record, 0.01 + np.diff(late_s))
    assert found is not None
    # 1984 gaps have a standard error of 0.02; about a block's own mean, 1/64 is lost
    assert found.autocorrelation == pytest.approx(-0.5, abs=0.06)
    assert found.pace == "device"


def host_gaps(bump: float = 0.05, last: float = -0.5) -> NDArray[np.float64]:
    """Slow spells of 20 tokens; a bump where a block of 16 begins; a last gap of its own."""
    gaps_s = 0.01 * np.where(np.arange(1, 1001) // 20 % 5 == 0, 1.3, 1.0)
    gaps_s += 0.01 * bump * ((np.arange(1, 1001) + 5) % 16 == 0)
    gaps_s += np.random.default_rng(0).normal(0, 1e-4, 1000)
    gaps_s[-1] = 0.01 * (1 + last)
    return gaps_s


def test_slow_spells_with_a_bump_and_a_short_end_are_the_hosts(fake_record: Make) -> None:
    record = fake_record([2.0]).record
    found = of_gaps(record, host_gaps())
    assert found is not None
    assert found.last_gap == pytest.approx(-0.5, abs=0.02)
    assert found.bump == pytest.approx(0.05, abs=0.01)
    assert found.pace == "host"
    for other in (host_gaps(bump=0.0), host_gaps(last=0.0)):
        unlike = of_gaps(record, other)
        assert unlike is not None
        assert unlike.pace is None
    without = of_gaps(record, host_gaps(), block=None)
    assert without is not None
    assert (without.bump, without.pace) == (None, None)


def test_one_stall_is_no_autocorrelation(fake_record: Make) -> None:
    late_s = np.random.default_rng(0).uniform(0, 1e-4, 1001)
    gaps_s = 0.01 + np.diff(late_s)
    gaps_s[500:502] += 1.0
    found = of_gaps(fake_record([2.0]).record, gaps_s)
    assert found is not None
    assert found.pace == "device"


@pytest.mark.parametrize(
    ("autocorrelation", "last_gap", "bump", "pace"),
    [
        (DEVICE_AUTOCORRELATION - 0.01, -0.5, 0.05, "device"),
        (DEVICE_AUTOCORRELATION, 0.0, None, None),
        (HOST_AUTOCORRELATION, -0.5, 0.05, None),
        (HOST_AUTOCORRELATION + 0.01, -0.5, 0.05, "host"),
        (HOST_AUTOCORRELATION + 0.01, -0.1, 0.05, None),
        (HOST_AUTOCORRELATION + 0.01, -0.5, 0.02, None),
    ],
)
def test_the_host_is_named_only_where_all_agree(
    autocorrelation: float, last_gap: float, bump: float | None, pace: str | None
) -> None:
    assert Signatures(autocorrelation, last_gap, bump).pace == pace


def test_short_quick_and_untimed_requests_have_none(fake_record: Make) -> None:
    record = fake_record([2.0]).record
    fewest = SETTLING_TOKENS + BLOCK_TOKENS
    assert of_gaps(record, [0.01] * fewest) is None
    even = of_gaps(record, [2.0**-7] * (fewest + 1))
    assert even is not None
    assert even.autocorrelation == 0
    assert signatures(record.model_copy(update={"samples": ()})) is None
    assert signatures(fake_record(protocol={"quick": True}, workload={"generate_length": 400}).record) is None
