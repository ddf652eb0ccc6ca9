"""The memory that a cell needs, the same quantity for both kinds of engine."""

from collections.abc import Callable
from typing import Any

import pytest

from speed_benchmark.judge.checks import judge
from speed_benchmark.record.record import Memory, MemoryNeed, Record

Make = Callable[..., Record]
TOKENS = 106


def need(record: Record, loaded: dict[str, Any], peaks: tuple[int | None, ...] = (None,) * 3) -> MemoryNeed | None:
    """Of a record with these values read back, and these allocator peaks: of the load, the warm-up, the repeat."""
    assert record.loaded is not None
    memories = [Memory(allocator_peak_allocated_bytes=peak, allocator_peak_reserved_bytes=10**9) for peak in peaks]
    update = {
        "loaded": record.loaded.model_copy(update={"weight_bytes": 1000} | loaded),
        "load_memory": memories[0],
        "warmups": (record.warmups[0].model_copy(update={"memory": memories[1]}),),
        "samples": (record.samples[0].model_copy(update={"memory": memories[2]}),),
    }
    summary = judge(record.model_copy(update=update)).summary
    return summary.need if summary else None


def test_an_engine_that_takes_what_it_needs_shows_it_as_its_peak(fake_record: Make) -> None:
    record = fake_record((1.5,))
    found = need(record, {"kv_cache_bytes_per_token": 2}, (1300, 1500, 1400))
    assert found == MemoryNeed(
        weight_bytes=1000,
        kv_cache_bytes=2 * TOKENS,
        activation_bytes=500 - 2 * TOKENS,
        minimum_to_run_bytes=1500,
    )


@pytest.mark.parametrize("place", range(3))
def test_the_worst_moment_decides(fake_record: Make, place: int) -> None:
    peaks = [1100, 1100, 1100]
    peaks[place] = 1200
    found = need(fake_record((1.5,)), {}, tuple(peaks))
    assert found is not None
    assert found.minimum_to_run_bytes == 1200
    assert (found.kv_cache_bytes, found.activation_bytes) == (None, None)


VLLM = {
    "kv_cache_bytes_per_token": 2,
    "kv_cache_allocated_bytes": 10**9,
    "kv_cache_block_tokens": 16,
    "activation_peak_bytes": 70,
    "graph_bytes": 30,
}


def test_an_engine_that_takes_what_it_is_given_is_counted_by_parts(fake_record: Make) -> None:
    cache_bytes = 2 * 16 * 8  # 106 tokens are 7 blocks, and one is never handed out
    assert need(fake_record((1.5,)), VLLM, (10**9,) * 3) == MemoryNeed(
        weight_bytes=1000,
        kv_cache_bytes=cache_bytes,
        activation_bytes=70,
        graph_bytes=30,
        minimum_to_run_bytes=1000 + cache_bytes + 70 + 30,
    )


def test_parts_that_are_not_known_are_not_made_up(fake_record: Make) -> None:
    found = need(fake_record((1.5,)), VLLM | {"activation_peak_bytes": None})
    assert found is not None
    assert found.minimum_to_run_bytes is None
    found = need(fake_record((1.5,)), {"kv_cache_bytes_per_token": 2})
    assert found is not None
    assert (found.activation_bytes, found.minimum_to_run_bytes) == (None, None)


def test_nothing_is_needed_where_nothing_was_loaded(fake_record: Make) -> None:
    record = fake_record((1.5,)).model_copy(update={"loaded": None})
    summary = judge(record).summary
    assert summary is not None
    assert summary.need is None
