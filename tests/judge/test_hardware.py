"""The rules about the hardware and what ran on it: each speaks of one record, and passes a near miss."""

import pytest

from speed_benchmark.judge.rules.hardware import HELD_DOWN
from speed_benchmark.machine.nvml import THROTTLE_REASONS
from speed_benchmark.record.machine import Colocation
from speed_benchmark.record.record import Profile
from speed_benchmark.record.sample import GpuReadings, Readings
from tests.judge.judging import Make, again, said, with_samples


@pytest.mark.parametrize(
    ("reason", "severity", "variant"),
    [("software power cap", "note", {}), ("hardware thermal slowdown", "doubtful", {"variant": "held_down"})],
)
def test_lowered_clocks(fake_record: Make, reason: str, severity: str, variant: dict[str, str]) -> None:
    held = {"readings": Readings(count=9, gpus=(GpuReadings(index=0, throttle_reasons=(reason,)),))}
    found = with_samples(fake_record([2.0] * 3), held, held)
    assert said(found, "throttled") == [(severity, {"reason": reason} | variant)]


def test_the_reasons_are_the_drivers() -> None:
    assert set(THROTTLE_REASONS.values()) > HELD_DOWN


def test_a_profiler_that_failed(fake_record: Make) -> None:
    steady = fake_record([2.0] * 3)
    assert said(again(steady, profile=Profile(device_busy_share=0.5)), "not_profiled") == []
    assert said(again(steady, profile=Profile(error="no CUPTI")), "not_profiled") == [("note", {"reason": "no CUPTI"})]


def test_other_choice(fake_record: Make) -> None:
    steady = fake_record([2.0] * 6)
    assert steady.record.loaded is not None
    loaded = steady.record.loaded.model_copy(update={"reasons": ("no such kernel",)})
    assert said(again(steady, loaded=loaded), "other_choice") == [("note", {"reason": "no such kernel"})]


@pytest.mark.parametrize(
    ("workers", "cores", "found"),
    [
        (2, 4, [("note", {"workers": 2, "cores": 4})]),
        (1, 3, [("doubtful", {"workers": 1, "cores": 3})]),
        (1, 0, [("doubtful", {"variant": "unbound", "workers": 1})]),
        (0, 0, []),
    ],
)
def test_shared_host(
    fake_record: Make, workers: int, cores: int, found: list[tuple[str, dict[str, int | str]]]
) -> None:
    steady = fake_record([2.0] * 6)
    beside = again(steady, colocation=Colocation(workers_beside=workers, cores=cores))
    assert said(beside, "shared_host") == found
    assert not said(steady, "shared_host")
