"""The memory that a cell needs, the same quantity for both kinds of engine."""

from typing import Any

import pytest

from speed_benchmark.judge.judgement import Judged, MemoryNeed
from speed_benchmark.record.sample import Memory
from tests.judge.judging import Make, again, summary_of

TOKENS = 106


def need(before: Judged, loaded: dict[str, Any], peaks: tuple[int | None, ...] = (None,) * 3) -> MemoryNeed:
    """Of a record with these values read back, and these allocator peaks: of the load, the warm-up, the repeat."""
    record = before.record
    assert record.loaded is not None
    memories = [Memory(allocator_peak_allocated_bytes=peak, allocator_peak_reserved_bytes=10**9) for peak in peaks]
    found = again(
        before,
        loaded=record.loaded.model_copy(update={"weight_bytes": 1000} | loaded),
        load_memory=memories[0],
        warmups=(record.warmups[0].model_copy(update={"memory": memories[1]}),),
        samples=(record.samples[0].model_copy(update={"memory": memories[2]}),),
    )
    known = summary_of(found).need
    assert known is not None
    return known


@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_engine_that_takes_what_it_needs_shows_it_as_its_peak(fake_record: Make, batch_size: int) -> None:
    cache_bytes = 2 * TOKENS * batch_size
    found = need(
        fake_record((1.5,), workload={"batch_size": batch_size}), {"kv_cache_bytes_per_token": 2}, (1300, 1900, 1400)
    )
    assert found == MemoryNeed(
        weight_bytes=1000,
        kv_cache_bytes=cache_bytes,
        activation_bytes=900 - cache_bytes,
        minimum_to_run_bytes=1900,
    )


@pytest.mark.parametrize("place", range(3))
def test_the_worst_moment_decides(fake_record: Make, place: int) -> None:
    peaks = [1100, 1100, 1100]
    peaks[place] = 1200
    found = need(fake_record((1.5,)), {}, tuple(peaks))
    assert found.minimum_to_run_bytes == 1200
    assert (found.kv_cache_bytes, found.activation_bytes) == (None, None)


IN_ADVANCE = {
    "preallocates": True,
    "kv_cache_bytes_per_token": 2,
    "kv_cache_allocated_bytes": 10**9,
    "kv_cache_block_tokens": 16,
    "kv_cache_spare_blocks": 1,
    "activation_peak_bytes": 70,
    "graph_bytes": 30,
}


@pytest.mark.parametrize(
    ("batch_size", "spare", "blocks"),
    [(1, 1, 8), (1, 0, 7), (3, 1, 22), (3, 2, 23)],  # 106 tokens are 7 blocks of each sequence
)
def test_an_engine_that_takes_its_memory_in_advance_is_counted_by_parts(
    fake_record: Make, batch_size: int, spare: int, blocks: int
) -> None:
    before = fake_record((1.5,), workload={"batch_size": batch_size})
    cache_bytes = 2 * 16 * blocks
    assert need(before, IN_ADVANCE | {"kv_cache_spare_blocks": spare}, (10**9,) * 3) == MemoryNeed(
        weight_bytes=1000,
        kv_cache_bytes=cache_bytes,
        activation_bytes=70,
        graph_bytes=30,
        minimum_to_run_bytes=1000 + cache_bytes + 70 + 30,
    )


def test_how_it_takes_memory_decides_and_not_what_it_tells(fake_record: Make) -> None:
    """An engine that hands out its cache in blocks as it needs them is known by its peak."""
    before = fake_record((1.5,))
    by_need = need(before, IN_ADVANCE | {"preallocates": False}, (1300, 1500, 1400))
    assert by_need.minimum_to_run_bytes == 1500
    # and one that takes all in advance without saying how much is not reported by its pool
    silent = {key: value for key, value in IN_ADVANCE.items() if key != "kv_cache_allocated_bytes"}
    assert need(before, silent, (10**9,) * 3).minimum_to_run_bytes == 1000 + 2 * 16 * 8 + 70 + 30


def test_parts_that_are_not_known_are_not_made_up(fake_record: Make) -> None:
    before = fake_record((1.5,))
    assert need(before, IN_ADVANCE | {"activation_peak_bytes": None}).minimum_to_run_bytes is None
    assert need(before, IN_ADVANCE | {"kv_cache_bytes_per_token": None}).minimum_to_run_bytes is None
    found = need(before, {"kv_cache_bytes_per_token": 2})
    assert (found.activation_bytes, found.minimum_to_run_bytes) == (None, None)


def test_nothing_is_needed_where_nothing_was_loaded(fake_record: Make) -> None:
    assert summary_of(again(fake_record((1.5,)), loaded=None)).need is None
