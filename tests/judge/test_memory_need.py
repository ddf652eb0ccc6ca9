"""The memory that a cell needs, the same quantity for both kinds of engine."""

from typing import Any

import pytest

from speed_benchmark.judge.judgement import Judged, MemoryNeed
from speed_benchmark.judge.memory_need import memory_need
from speed_benchmark.record.sample import Memory, Sample
from tests.judge.judging import Make, again, summary_of
from tests.judge.stored import stored

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
        as_started_bytes=1900,
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
    "max_batched_tokens": 35,
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
        as_started_bytes=1000 + cache_bytes + 70 + 30,
        minimum_to_run_bytes=1000 + cache_bytes + 2 * 5 * batch_size + 30,  # 2 bytes for each of 5 prompt tokens
    )


@pytest.mark.parametrize(
    ("context_length", "batch_size", "activations"), [(1, 1, 2), (35, 1, 70), (20, 2, 70), (9, 3, 54)]
)
def test_at_least_has_the_activations_of_the_largest_step(
    fake_record: Make, context_length: int, batch_size: int, activations: int
) -> None:
    """A step takes no more tokens than the trial run had, however many are sent."""
    workload = {"context_length": context_length, "batch_size": batch_size}
    found = need(fake_record((1.5,), workload=workload), IN_ADVANCE)
    assert found.kv_cache_bytes is not None
    assert found.as_started_bytes == 1000 + found.kv_cache_bytes + 70 + 30
    assert found.minimum_to_run_bytes == 1000 + found.kv_cache_bytes + activations + 30


def test_the_least_is_not_said_where_the_size_of_the_trial_run_is_not_known(fake_record: Make) -> None:
    found = need(fake_record((1.5,)), IN_ADVANCE | {"max_batched_tokens": None})
    assert found.as_started_bytes == 1000 + 2 * 16 * 8 + 70 + 30
    assert found.minimum_to_run_bytes is None


QUICK = {"protocol": {"quick": True, "repeats": 1}, "workload": {"generate_length": 200}}


@pytest.mark.parametrize(
    ("start_peak", "cache_per_token", "needed"),
    [
        (1900, 2, 1900),  # the start's prefill, or a cache that is made whole at once
        (1200, 2, 1000 + 2 * 205),  # the cache of the whole, which the start's window has not filled
        (1200, None, 1200),
    ],
)
def test_quick_leaves_out_the_longer_prefill_of_the_end(
    fake_record: Make, start_peak: int, cache_per_token: int | None, needed: int
) -> None:
    before = fake_record(**QUICK)
    peaks = {"start": start_peak, "end": 5000}
    assert before.record.loaded is not None

    def with_peak(sample: Sample) -> Sample:
        return sample.model_copy(update={"memory": Memory(allocator_peak_allocated_bytes=peaks[str(sample.window)])})

    found = again(
        before,
        loaded=before.record.loaded.model_copy(
            update={"weight_bytes": 1000, "kv_cache_bytes_per_token": cache_per_token}
        ),
        load_memory=Memory(allocator_peak_allocated_bytes=1100),
        warmups=tuple(map(with_peak, before.record.warmups)),
        samples=tuple(map(with_peak, before.record.samples)),
    )
    known = summary_of(found).need
    assert known is not None
    assert (known.as_started_bytes, known.minimum_to_run_bytes) == (needed, needed)


def test_how_it_takes_memory_decides_and_not_what_it_tells(fake_record: Make) -> None:
    """An engine that hands out its cache in blocks as it needs them is known by its peak."""
    before = fake_record((1.5,))
    by_need = need(before, IN_ADVANCE | {"preallocates": False}, (1300, 1500, 1400))
    assert by_need.minimum_to_run_bytes == 1500
    # and one that takes all in advance without saying how much is not reported by its pool
    silent = {key: value for key, value in IN_ADVANCE.items() if key != "kv_cache_allocated_bytes"}
    assert need(before, silent, (10**9,) * 3).as_started_bytes == 1000 + 2 * 16 * 8 + 70 + 30


def test_parts_that_are_not_known_are_not_made_up(fake_record: Make) -> None:
    before = fake_record((1.5,))
    for unknown in ("activation_peak_bytes", "kv_cache_bytes_per_token"):
        found = need(before, IN_ADVANCE | {unknown: None})
        assert (found.as_started_bytes, found.minimum_to_run_bytes) == (None, None)
    found = need(before, {"kv_cache_bytes_per_token": 2})
    assert (found.activation_bytes, found.minimum_to_run_bytes) == (None, None)


def test_nothing_is_needed_where_nothing_was_loaded(fake_record: Make) -> None:
    assert summary_of(again(fake_record((1.5,)), loaded=None)).need is None


def test_quick_needs_what_the_full_measurements_beside_it_do() -> None:
    """Compiled transformers on one machine: by the end's prefill of 2064 tokens it was 0.27 GiB more.

    The first request of a load compiles, which takes 0.08 GiB in whatever is measured first.
    """
    needs: dict[bool, list[int]] = {False: [], True: []}
    for record in stored("transformers", 64, model="Qwen2.5-7B-Instruct"):
        found = memory_need(record)
        assert found is not None
        assert found.as_started_bytes is not None
        needs[record.cell.protocol.quick].append(found.as_started_bytes)
    assert len(needs[True]) == len(needs[False]) == 2
    assert min(needs[True]) == min(needs[False])
    assert max(needs[True]) < min(needs[False]) + 0.09 * 2**30
