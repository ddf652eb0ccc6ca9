"""The rules about what else ran: each speaks of one record, and passes a near miss."""

from typing import Any

import pytest

from speed_benchmark.judge.judgement import Judged
from speed_benchmark.record.machine import Machine, MachineState
from speed_benchmark.record.sample import GpuReadings, Memory, Range, Readings
from tests.judge.judging import Make, again, said, with_samples

GIB = 2**30


def over(value: float) -> Range:
    return Range(minimum=0.0, mean=value / 2, maximum=value)


@pytest.fixture
def steady(fake_record: Make) -> Judged:
    machine = Machine(processor="test", cores=2, memory_bytes=20 * GIB, system="test")
    before = MachineState(unix_s=0.0, load_1min=0.0, memory_available_bytes=18 * GIB)
    return again(fake_record([2.0, 2.0, 2.0]), machine=machine, machine_before=before)


def cores(mean: float) -> dict[str, Any]:
    return {"readings": Readings(count=9, other_cores=Range(minimum=0, mean=mean, maximum=9.0))}


def test_other_programs_on_the_processor(steady: Judged) -> None:
    assert said(with_samples(steady, cores(0.25), cores(0.2)), "other_load") == []
    values = {"busy_cores": 0.5, "cores": 2, "disturbed": 2, "repeats": 3}
    assert said(with_samples(steady, cores(0.5), cores(0.26), cores(0.1)), "other_load") == [("doubtful", values)]


def test_on_many_cores_a_share_counts(steady: Judged) -> None:
    many = steady.record.machine.model_copy(update={"cores": 100})
    assert said(with_samples(steady, cores(2.0), machine=many), "other_load") == []
    assert len(said(with_samples(steady, cores(2.01), machine=many), "other_load")) == 1


def test_what_was_busy_before(steady: Judged) -> None:
    reason = "GPU 0 is 97 % busy"
    assert said(again(steady, busy=(reason,)), "busy_gpu") == [("doubtful", {"reason": reason})]


def test_other_programs_on_the_gpu(steady: Judged) -> None:
    gpu = GpuReadings(index=1, foreign_processes=("7 game", "9"))
    game = {"readings": Readings(count=9, gpus=(gpu,))}
    assert said(with_samples(steady, game, {}, game), "foreign_process") == [
        ("doubtful", {"process": "7 game", "gpu": 1}),
        ("doubtful", {"process": "9", "gpu": 1}),
    ]


def memory(used: float, process: float | None = None, reserved: float | None = None) -> Memory:
    names = ("device_used_bytes", "process_device_bytes", "allocator_reserved_bytes")
    values = (used, process, reserved)
    return Memory(**{name: round(value * GIB) for name, value in zip(names, values, strict=True) if value is not None})


def taken(*values: float | None) -> dict[str, Any]:
    return {"memory": memory(*values)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("samples", "changes_gib"),
    [
        ([taken(10, 9), taken(12, 11), taken(10, 9)], []),
        ([taken(10, 9), taken(12.5, 11), taken(10, 9)], [0.5]),
        ([taken(10, None, 8), taken(12, None, 10), taken(10, None, 8)], []),
        ([taken(10, None, 8), taken(10, None, 8), taken(11, None, 8)], [1]),
        ([taken(10), taken(10), taken(10.25)], []),
        ([taken(10), taken(10), taken(10.26)], [0.26]),
    ],
)
def test_memory_that_others_take_meanwhile(
    steady: Judged, samples: list[dict[str, Any]], changes_gib: list[float]
) -> None:
    found = said(with_samples(steady, *samples), "foreign_memory")
    assert found == [("doubtful", {"bytes": round(change * GIB)}) for change in changes_gib]


@pytest.mark.parametrize(
    ("load", "changes_gib"),
    [
        (memory(12, None, 10.4), []),
        (memory(12, None, 10.6), [0.6]),
        (memory(12, None, 9.6), []),
        (memory(12, None, 9.4), [0.6]),
        (memory(12, 10.6, 9), [0.6]),
        (Memory(), []),
        (None, []),
    ],
)
def test_memory_that_others_took_since_the_load(steady: Judged, load: Memory | None, changes_gib: list[float]) -> None:
    samples = [taken(10, 8 if load and load.process_device_bytes else None, 8)] * 3
    assert said(with_samples(steady, *samples, load_memory=load), "foreign_memory") == [
        ("doubtful", {"bytes": pytest.approx(change * GIB, abs=1)}) for change in changes_gib
    ]


def host(others: float, own: float = 0.0) -> dict[str, Any]:
    memory = Memory(host_peak_rss_bytes=round(own * GIB))
    return {"readings": Readings(count=9, other_memory_bytes=over(others * GIB)), "memory": memory}


@pytest.mark.parametrize(("others", "grown_gib"), [(3.9, []), (4.5, [2.5])])
def test_host_memory_that_others_take(steady: Judged, others: float, grown_gib: list[float]) -> None:
    """2 GiB of 20 were taken before."""
    assert said(with_samples(steady, host(others), host(1.0)), "host_memory_taken") == [
        ("doubtful", {"bytes": grown * GIB}) for grown in grown_gib
    ]


def test_host_memory_on_a_small_machine(steady: Judged) -> None:
    small = steady.record.machine.model_copy(update={"memory_bytes": 4 * GIB})
    before = steady.record.machine_before.model_copy(update={"memory_available_bytes": 3 * GIB})
    known = {"machine": small, "machine_before": before}
    assert said(with_samples(steady, host(2.0), **known), "host_memory_taken") == []
    assert len(said(with_samples(steady, host(2.1), **known), "host_memory_taken")) == 1


@pytest.mark.parametrize(("others", "own", "found"), [(3.0, 16.0, 0), (3.0, 16.1, 1), (3.1, 16.0, 1)])
def test_host_memory_that_runs_short(steady: Judged, others: float, own: float, found: int) -> None:
    short = said(with_samples(steady, host(others, own), host(1.0, 1.0)), "host_memory_short")
    assert short == [("doubtful", {"bytes": 20 * GIB})] * found
