"""Steps found in traces whose every figure is known."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from speed_benchmark.engines.steps import AHEAD, FEWEST_STEPS, Activity, window
from speed_benchmark.engines.trace import DeviceTrace, activities
from speed_benchmark.record.record import NAME_CHARACTERS, NAMED_KERNELS, Kernel

STEP = 1000


def step(start: int) -> Iterator[Activity]:
    """150 ns of kernels in a graph with a gap of 20, 30 launched in time after a gap of 5, 60 after 40 of the host."""
    yield Activity("embed", start, start + 50, start - 10)
    yield Activity("layer", start + 70, start + 120, start - 10)
    yield Activity("layer", start + 120, start + 170, start - 10)
    yield Activity("norm", start + 175, start + 205, start + 169)
    yield Activity("sample", start + 245, start + 305, start + 206)
    yield Activity("copy", start + 300, start + 310, start + 300)  # beside the kernel, on another stream


def trace(steps: int) -> list[Activity]:
    return [one for number in range(steps) for one in step(number * STEP)]


@pytest.mark.parametrize("ahead", [-AHEAD, 0, AHEAD])
def test_steps_are_told_whatever_an_engine_is_ahead(ahead: int) -> None:
    found = window(trace(32 + ahead), 32)
    assert found.tokens == 31 + ahead
    assert found.pass_s == STEP / 1e9
    assert found.device_s == (50 + 100 + 30 + 65) / 1e9
    assert found.graph_gap_s == 25 / 1e9
    assert found.kernels == (
        Kernel(name="layer", count_per_token=2, s_per_token=100 / 1e9),
        Kernel(name="sample", count_per_token=1, s_per_token=60 / 1e9),
        Kernel(name="embed", count_per_token=1, s_per_token=50 / 1e9),
        Kernel(name="norm", count_per_token=1, s_per_token=30 / 1e9),
        Kernel(name="copy", count_per_token=1, s_per_token=10 / 1e9),
    )


def test_one_stall_does_not_count_and_order_does_not_matter() -> None:
    stalled = [*trace(5), *(one for number in range(5, 12) for one in step(number * STEP + 10**6))]
    assert window(stalled[::-1], 12) == window(trace(12), 12)


def test_the_most_common_number_of_runs_is_that_of_the_steps() -> None:
    """A kernel that runs some other times, and is first in the trace, is no anchor."""
    now_and_then = [Activity("rare", number - 900, number - 899, number - 901) for number in range(30)]
    assert window([*now_and_then, *trace(32)], 32).tokens == 31


def test_a_launch_that_was_not_seen_is_no_reason_to_call_a_gap_the_devices() -> None:
    unseen = [one._replace(launched_ns=None) if one.name == "norm" else one for one in trace(8)]
    assert window(unseen, 8).graph_gap_s == 20 / 1e9


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([], "saw nothing on the GPU"),
        ([one._replace(launched_ns=None) for one in trace(8)], "no call that launched"),
        (trace(FEWEST_STEPS), f"{FEWEST_STEPS - 1} whole steps"),
        (trace(8 + AHEAD + 1), "0 whole steps"),
    ],
)
def test_what_has_no_steps_says_why(seen: Sequence[Activity], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        window(seen, 8 if seen != trace(FEWEST_STEPS) else FEWEST_STEPS)


def test_names_are_kept_within_bounds_and_nothing_is_lost() -> None:
    """Of names that begin alike, and of more names than are kept."""
    name = "x" * NAME_CHARACTERS
    long = [Activity(name + end, 10 * number, 10 * number + 4, 0) for number in range(8) for end in "ab"]
    many = [Activity(f"{one}", 10 * number + 5, 10 * number + 6, 0) for number in range(8) for one in range(300)]
    found = window([*long, *many], 8).kernels
    assert len(found) == NAMED_KERNELS + 1
    assert found[0] == Kernel(name=name, count_per_token=2, s_per_token=8 / 1e9)
    assert (found[-1].name, found[-1].count_per_token) == ("others", 101)
    assert found[-1].s_per_token == pytest.approx(101 / 1e9)


class Event:
    """What PyTorch's profiler gives."""

    def __init__(self, device: str, name: str, start: int, length: int, correlation: int) -> None:
        self._values = device, name, start, length, correlation

    def device_type(self) -> str:
        return self._values[0]

    def name(self) -> str:
        return self._values[1]

    def start_ns(self) -> int:
        return self._values[2]

    def duration_ns(self) -> int:
        return self._values[3]

    def correlation_id(self) -> int:
        return self._values[4]


def test_a_kernel_was_launched_by_the_earliest_call_of_its_correlation() -> None:
    events = [
        Event("gpu", "gemm", 50, 5, 7),
        Event("cpu", "cuLaunchKernelEx", 30, 2, 7),
        Event("cpu", "cudaLaunchKernel", 20, 15, 7),
        Event("gpu", "Memcpy DtoH", 60, 1, 8),
    ]
    assert activities(events, "gpu") == [Activity("gemm", 50, 55, 20), Activity("Memcpy DtoH", 60, 61, None)]


def test_a_trace_is_of_what_the_profiler_saw() -> None:
    heard: list[Any] = []
    events = [
        event
        for number in range(10)
        for event in (
            Event("cpu", "cudaGraphLaunch", number * STEP, 5, number),
            Event("gpu", "gemm", number * STEP + 20, 100, number),
            Event("gpu", "gemv", number * STEP + 130, 100, number),
        )
    ]

    def profile(activities: list[str]) -> SimpleNamespace:
        heard.append(activities)
        return profiler

    profiler = SimpleNamespace(
        start=lambda: heard.append("start"),
        stop=lambda: heard.append("stop"),
        profiler=SimpleNamespace(kineto_results=SimpleNamespace(events=lambda: events)),
    )
    torch = SimpleNamespace(
        cuda=SimpleNamespace(synchronize=lambda: heard.append("synchronize")),
        profiler=SimpleNamespace(
            profile=profile,
            ProfilerActivity=SimpleNamespace(CUDA="CUDA"),
        ),
        autograd=SimpleNamespace(DeviceType=SimpleNamespace(CUDA="gpu")),
    )
    trace = DeviceTrace(torch)
    trace.start()
    found = trace.stop(10)
    assert (found.tokens, found.device_s, found.graph_gap_s) == (9, 200 / 1e9, 10 / 1e9)
    assert heard == [["CUDA"], "synchronize", "start", "synchronize", "stop"]


@pytest.mark.slow
def test_the_profilers_events_have_what_a_trace_asks_of_them() -> None:
    """Of this version of PyTorch, with the processor in the GPU's place."""
    torch = pytest.importorskip("torch")
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    profiler.start()
    for _ in range(5):
        torch._C._nn.linear(torch.ones(64, 64), torch.ones(64, 64))
    profiler.stop()
    seen = activities(profiler.profiler.kineto_results.events(), torch.autograd.DeviceType.CPU)
    assert sum(one.name == "aten::linear" for one in seen) == 5
    assert all(one.end_ns >= one.start_ns > 0 for one in seen)
