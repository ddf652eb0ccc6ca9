"""The rules about the hardware and what ran on it: each speaks of one record, and passes a near miss."""

import pytest

from speed_benchmark.judge.rules.hardware import HELD_DOWN
from speed_benchmark.machine.nvml import THROTTLE_REASONS
from speed_benchmark.record.machine import Colocation, Pace
from speed_benchmark.record.record import Profile
from speed_benchmark.record.sample import GpuReadings, Readings
from tests.judge.judging import Make, again, said, with_samples
from tests.judge.test_roofline import COST, PEAKS


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


def paces(*loops_s: tuple[int, float]) -> tuple[Pace, ...]:
    return tuple(Pace(process=process, python_loop_s=loop_s) for process, loop_s in loops_s)


@pytest.mark.parametrize(
    ("host_paces", "share"),
    [
        ((), None),
        (((0, 1.0),), None),
        (((0, 1.0), (0, 1.04)), None),
        (((0, 1.0), (0, 1.06)), 0.06),
        (((0, 1.06), (0, 1.0)), 0.06),
        (((0, 1.0), (0, 1.0), (1, 2.0), (1, 2.0)), None),  # two processes are told apart elsewhere
        (((0, 1.0), (0, 1.1), (1, 2.0), (1, 2.5)), 0.25),
    ],
)
def test_a_host_that_changed_its_pace(
    fake_record: Make, host_paces: tuple[tuple[int, float], ...], share: float | None
) -> None:
    changed = again(fake_record([2.0] * 6), host_paces=paces(*host_paces))
    expected = [] if share is None else [("note", {"share": pytest.approx(share)})]
    assert said(changed, "pace_changed") == expected


@pytest.mark.parametrize(("busy", "severity"), [(0.5, "doubtful"), (0.9, "note")])
def test_a_changed_pace_is_doubted_where_the_host_sets_it(fake_record: Make, busy: float, severity: str) -> None:
    changed = again(
        fake_record([1.5] * 6),
        host_paces=paces((0, 1.0), (0, 1.06)),
        token_cost=COST,
        device_peaks=PEAKS,
        profile=Profile(device_busy_share=busy),
    )
    variant = {"variant": "host"} if severity == "doubtful" else {}
    assert said(changed, "pace_changed") == [(severity, {"share": pytest.approx(0.06)} | variant)]


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
