"""The rules about what else ran: one record that each speaks of, word for word, and a near miss that it passes."""

from collections.abc import Callable
from typing import Any

import pytest

from speed_benchmark.judge.checks import judge
from speed_benchmark.record.record import GpuReadings, Machine, MachineState, Memory, Profile, Range, Readings, Record

Make = Callable[..., Record]
GIB = 2**30


def texts(record: Record, code: str) -> list[str]:
    found = [finding for finding in record.findings if finding.code == code]
    return [f"{finding.severity}: {finding.text}; {finding.cure}" for finding in found]


def over(value: float) -> Range:
    return Range(minimum=0.0, mean=value / 2, maximum=value)


def changed(record: Record, *samples: dict[str, Any], **rest: Any) -> Record:
    """`record` with these values in its first samples, judged again."""
    new = [sample.model_copy(update=update) for sample, update in zip(record.samples, samples, strict=False)]
    return judge(record.model_copy(update={"samples": (*new, *record.samples[len(new) :])} | rest))


@pytest.fixture
def steady(fake_record: Make) -> Record:
    machine = Machine(processor="test", cores=2, memory_bytes=20 * GIB, system="test")
    before = MachineState(unix_s=0.0, load_1min=0.0, memory_available_bytes=18 * GIB)
    record = fake_record([2.0, 2.0, 2.0]).model_copy(update={"machine": machine, "machine_before": before})
    return judge(record)


def cores(mean: float) -> dict[str, Any]:
    return {"readings": Readings(count=9, other_cores=Range(minimum=0, mean=mean, maximum=9.0))}


def test_other_programs_on_the_processor(steady: Record) -> None:
    assert texts(changed(steady, cores(0.25), cores(0.2)), "other_load") == []
    assert texts(changed(steady, cores(0.5), cores(0.26), cores(0.1)), "other_load") == [
        "doubtful: other programs kept up to 0.5 of 2 cores busy during 2 of 3 repeats; "
        "measure again while nothing else runs"
    ]


def test_on_many_cores_a_share_counts(steady: Record) -> None:
    many = steady.machine.model_copy(update={"cores": 100})
    assert texts(changed(steady, cores(2.0), machine=many), "other_load") == []
    assert len(texts(changed(steady, cores(2.01), machine=many), "other_load")) == 1


def test_what_was_busy_before(steady: Record) -> None:
    assert texts(changed(steady, busy=("GPU 0 is 97 % busy",)), "busy_gpu") == [
        "doubtful: before the load GPU 0 is 97 % busy; end it, or --wait_idle SECONDS"
    ]


def on_gpu(index: int = 0, **values: Any) -> dict[str, Any]:
    return {"readings": Readings(count=9, gpus=(GpuReadings(index=index, **values),))}


def test_other_programs_on_the_gpu(steady: Record) -> None:
    game = on_gpu(1, foreign_processes=("7 game", "9"))
    assert texts(changed(steady, game, {}, game), "foreign_process") == [
        "doubtful: process 7 game was on GPU 1 during the repeats; measure again once it has ended",
        "doubtful: process 9 was on GPU 1 during the repeats; measure again once it has ended",
    ]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (
            "software power cap",
            "note: the driver lowered the GPU's clock during the repeats: software power cap; "
            "compare at the same limits only",
        ),
        (
            "hardware thermal slowdown",
            "doubtful: the driver lowered the GPU's clock during the repeats: hardware thermal slowdown; "
            "see to its cooling and its power",
        ),
    ],
)
def test_lowered_clocks(steady: Record, reason: str, text: str) -> None:
    held = on_gpu(throttle_reasons=(reason,))
    assert texts(changed(steady, held, held), "throttled") == [text]


def memory(used: float, process: float | None = None, reserved: float | None = None) -> Memory:
    names = ("device_used_bytes", "process_device_bytes", "allocator_reserved_bytes")
    values = (used, process, reserved)
    return Memory(**{name: round(value * GIB) for name, value in zip(names, values, strict=True) if value is not None})


def taken(*values: float | None) -> dict[str, Any]:
    return {"memory": memory(*values)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("samples", "others"),
    [
        ([taken(10, 9), taken(12, 11), taken(10, 9)], []),
        ([taken(10, 9), taken(12.5, 11), taken(10, 9)], ["0.5"]),
        ([taken(10, None, 8), taken(12, None, 10), taken(10, None, 8)], []),
        ([taken(10, None, 8), taken(10, None, 8), taken(11, None, 8)], ["1"]),
        ([taken(10), taken(10), taken(10.25)], []),
        ([taken(10), taken(10), taken(10.26)], ["0.26"]),
    ],
)
def test_memory_that_others_take_meanwhile(steady: Record, samples: list[dict[str, Any]], others: list[str]) -> None:
    found = texts(changed(steady, *samples), "foreign_memory")
    assert found == [
        f"doubtful: what others have of the GPUs' memory changed by {change} GiB; "
        "measure again while nobody else uses the GPUs"
        for change in others
    ]


@pytest.mark.parametrize(
    ("load", "found"),
    [
        (memory(12, None, 10.4), []),
        (memory(12, None, 10.6), ["0.6"]),
        (memory(12, None, 9.6), []),
        (memory(12, None, 9.4), ["0.6"]),
        (memory(12, 10.6, 9), ["0.6"]),
        (Memory(), []),
        (None, []),
    ],
)
def test_memory_that_others_took_since_the_load(steady: Record, load: Memory | None, found: list[str]) -> None:
    samples = [taken(10, 8 if load and load.process_device_bytes else None, 8)] * 3
    assert texts(changed(steady, *samples, load_memory=load), "foreign_memory") == [
        f"doubtful: what others have of the GPUs' memory changed by {change} GiB; "
        "measure again while nobody else uses the GPUs"
        for change in found
    ]


def host(others: float, own: float = 0.0) -> dict[str, Any]:
    memory = Memory(host_peak_rss_bytes=round(own * GIB))
    return {"readings": Readings(count=9, other_memory_bytes=over(others * GIB)), "memory": memory}


@pytest.mark.parametrize(("others", "found"), [(3.9, []), (4.5, ["2.5"])])
def test_host_memory_that_others_take(steady: Record, others: float, found: list[str]) -> None:
    """2 GiB of 20 were taken before."""
    assert texts(changed(steady, host(others), host(1.0)), "host_memory_taken") == [
        f"doubtful: other programs took {grown} GiB of the host's memory meanwhile; "
        "measure again while nothing else runs"
        for grown in found
    ]


def test_host_memory_on_a_small_machine(steady: Record) -> None:
    small = steady.machine.model_copy(update={"memory_bytes": 4 * GIB})
    before = steady.machine_before.model_copy(update={"memory_available_bytes": 3 * GIB})
    assert texts(changed(steady, host(2.0), machine=small, machine_before=before), "host_memory_taken") == []
    assert len(texts(changed(steady, host(2.1), machine=small, machine_before=before), "host_memory_taken")) == 1


@pytest.mark.parametrize(("others", "own", "found"), [(3.0, 16.0, 0), (3.0, 16.1, 1), (3.1, 16.0, 1)])
def test_host_memory_that_runs_short(steady: Record, others: float, own: float, found: int) -> None:
    short = texts(changed(steady, host(others, own), host(1.0, 1.0)), "host_memory_short")
    assert (
        short
        == ["doubtful: the host's memory of 20 GiB was all but full: it may have swapped; end other programs"] * found
    )


def test_a_profiler_that_failed(steady: Record) -> None:
    assert texts(changed(steady, profile=Profile(device_busy_share=0.5)), "not_profiled") == []
    assert texts(changed(steady, profile=Profile(error="no CUPTI")), "not_profiled") == [
        "note: how busy the GPU was is not known: no CUPTI; see the reason"
    ]
