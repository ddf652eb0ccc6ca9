"""The pace of this host: what is measured where there is a GPU in use and where there is none."""

import sys
import time

import pytest

from speed_benchmark.machine import pace


def test_without_a_gpu_in_use_it_is_the_loop_alone() -> None:
    """Whatever is installed: torch that nobody has imported stays out, CUDA that is not set up too."""
    before, started = set(sys.modules), time.perf_counter()
    found = pace.measure_pace()
    taken_s = time.perf_counter() - started
    assert found.python_loop_s is not None
    assert 1e-9 < found.python_loop_s < 1e-5
    assert (found.kernel_launch_s, found.graph_launch_s) == (None, None)
    assert "torch" not in set(sys.modules) - before
    assert pace._PART_S <= taken_s < 0.5


def test_all_parts_before_and_after_the_usual_repeats_take_a_second_at_most() -> None:
    assert (1 + 6) * 3 * pace._PART_S < 0.9


def test_slow_spells_do_not_count_nor_what_comes_after_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten launches in 0.2 s, in a slow spell in 9 s; each burst is followed by a second of waiting for the device."""
    now_s, bursts_s = 0.0, iter([0.2, 0.2, 0.2, *[9.0] * 5, 0.2, 0.2])

    def call(times: int) -> None:
        nonlocal now_s
        assert times == 10
        now_s += next(bursts_s)

    def settle() -> None:
        nonlocal now_s
        now_s += 1.0

    monkeypatch.setattr("time.perf_counter", lambda: now_s)
    monkeypatch.setattr(pace, "_PART_S", 56.0)
    assert pace._burst_s(call, 10, settle) == pytest.approx(0.02)
    assert list(bursts_s) == []


def test_launches_on_a_gpu_leave_nothing_of_theirs() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    kept = torch.ones(64 * 2**20, device="cuda")
    del kept  # a block in the allocator's cache, as a request leaves it
    pace.measure_pace()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    found = pace.measure_pace()
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before
    assert before[1] >= 256 * 2**20, "the cache is as it was"
    assert found.kernel_launch_s is not None
    assert found.graph_launch_s is not None
    assert 5e-7 < found.kernel_launch_s < found.graph_launch_s < 1e-2
