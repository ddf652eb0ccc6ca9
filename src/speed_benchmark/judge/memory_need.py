"""What memory a cell needs to run, whatever engine measured it: a pure rule over its record."""

from speed_benchmark.cell import Cell
from speed_benchmark.judge.judgement import MemoryNeed
from speed_benchmark.record.engine import Loaded
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Memory


def memory_need(record: Record) -> MemoryNeed | None:
    """The memory that the cell of `record` needs; None where nothing was loaded."""
    loaded = record.loaded
    if loaded is None:
        return None
    cache_bytes = _cache_bytes(loaded, record.cell)
    return _by_parts(loaded, cache_bytes) if loaded.preallocates else _by_peak(record, loaded, cache_bytes)


def _by_parts(loaded: Loaded, cache_bytes: int | None) -> MemoryNeed:
    """For an engine that takes its memory in advance, needed or not."""
    activations, graphs = loaded.activation_peak_bytes, loaded.graph_bytes
    known = activations is not None and cache_bytes is not None
    return MemoryNeed(
        weight_bytes=loaded.weight_bytes,
        kv_cache_bytes=cache_bytes,
        activation_bytes=activations,
        graph_bytes=graphs,
        minimum_to_run_bytes=loaded.weight_bytes + (cache_bytes or 0) + (activations or 0) + (graphs or 0)
        if known
        else None,
    )


def _by_peak(record: Record, loaded: Loaded, cache_bytes: int | None) -> MemoryNeed:
    """For an engine that takes memory as it needs it."""
    memories: list[Memory] = [request.memory for request in (*record.warmups, *record.samples)]
    if record.load_memory:
        memories.append(record.load_memory)
    peaks = [one.allocator_peak_allocated_bytes for one in memories if one.allocator_peak_allocated_bytes is not None]
    peak = max(peaks, default=None)
    rest = None if peak is None or cache_bytes is None else max(0, peak - loaded.weight_bytes - cache_bytes)
    return MemoryNeed(
        weight_bytes=loaded.weight_bytes,
        kv_cache_bytes=cache_bytes,
        activation_bytes=rest,
        minimum_to_run_bytes=peak,
    )


def _cache_bytes(loaded: Loaded, cell: Cell) -> int | None:
    """The key-value cache of all sequences, each in whole blocks where the engine hands it out in blocks."""
    if loaded.kv_cache_bytes_per_token is None:
        return None
    block = loaded.kv_cache_block_tokens or 1
    blocks = cell.workload.batch_size * -(-cell.total_tokens // block)
    spare = loaded.kv_cache_spare_blocks if loaded.kv_cache_block_tokens else 0
    return loaded.kv_cache_bytes_per_token * (blocks + spare) * block
