"""What memory a cell needs to run, whatever engine measured it: a pure rule over its record."""

from speed_benchmark.cell import Cell, Workload
from speed_benchmark.judge import work
from speed_benchmark.judge.judgement import MemoryNeed
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.engine import Loaded
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Memory


def memory_need(record: Record) -> MemoryNeed | None:
    """The memory that the cell of `record` needs; None where nothing was loaded."""
    loaded = record.loaded
    if loaded is None:
        return None
    cache_bytes = _cache_bytes(loaded, record.cell, record.token_cost)
    if loaded.preallocates:
        return _by_parts(loaded, cache_bytes, record.cell.workload)
    return _by_peak(record, loaded, cache_bytes)


def _by_parts(loaded: Loaded, cache_bytes: int | None, workload: Workload) -> MemoryNeed:
    """For an engine that takes its memory in advance, needed or not."""
    activations, graphs = loaded.activation_peak_bytes, loaded.graph_bytes
    least = _least_activation_bytes(loaded, workload)
    others = None if cache_bytes is None else loaded.weight_bytes + cache_bytes + (graphs or 0)
    return MemoryNeed(
        weight_bytes=loaded.weight_bytes,
        kv_cache_bytes=cache_bytes,
        activation_bytes=activations,
        graph_bytes=graphs,
        as_started_bytes=None if others is None or activations is None else others + activations,
        minimum_to_run_bytes=None if others is None or least is None else others + least,
    )


def _least_activation_bytes(loaded: Loaded, workload: Workload) -> int | None:
    """The activations of the largest step that the cell has, from those of the trial run; an estimate.

    The engine tries itself out with as many tokens as one step may take in, 8,192 or 16,384, however few a cell sends.
    The tensors of a layer have a row for each token, and attention makes none that grows by their square, so that the
    peak is nearly proportional to the tokens. Buffers for each sequence that may run (its logits, its penalties) are
    scaled down alike, which is right where hardly any of these sequences are used. None where a size is not known.
    """
    if loaded.activation_peak_bytes is None or not loaded.max_batched_tokens:
        return None
    tokens = min(workload.batch_size * workload.context_length, loaded.max_batched_tokens)
    return loaded.activation_peak_bytes * tokens // loaded.max_batched_tokens


def _by_peak(record: Record, loaded: Loaded, cache_bytes: int | None) -> MemoryNeed:
    """For an engine that takes memory as it needs it: it was started with no more than the least."""
    peaks = [one.allocator_peak_allocated_bytes for one in _memories(record)]
    known = [peak for peak in peaks if peak is not None]
    if known and cache_bytes is not None and record.cell.protocol.quick:
        known.append(loaded.weight_bytes + cache_bytes)
    peak = max(known, default=None)
    rest = None if peak is None or cache_bytes is None else max(0, peak - loaded.weight_bytes - cache_bytes)
    return MemoryNeed(
        weight_bytes=loaded.weight_bytes,
        kv_cache_bytes=cache_bytes,
        activation_bytes=rest,
        as_started_bytes=peak,
        minimum_to_run_bytes=peak,
    )


def _memories(record: Record) -> list[Memory]:
    """The readings of the load and of all requests that the cell has.

    The end of the output in a quick measurement comes after a prompt that is as long as all before it: its prefill, and
    what that takes, is none of the cell's. That the cache is whole at the end is added instead.
    """
    requests = [one.memory for one in (*record.warmups, *record.samples) if one.window != "end"]
    return [*requests, record.load_memory] if record.load_memory else requests


def _cache_bytes(loaded: Loaded, cell: Cell, cost: TokenCost | None) -> int | None:
    """The key-value cache of all sequences, each in whole blocks where the engine hands it out in blocks.

    Layers with windows or states keep less of a long sequence, or the same of any, where that is known.
    """
    if loaded.kv_cache_bytes_per_token is None:
        return None
    block = loaded.kv_cache_block_tokens or 1
    tokens, sequences = -(-cell.total_tokens // block) * block, cell.workload.batch_size
    spare = loaded.kv_cache_spare_blocks * block if loaded.kv_cache_block_tokens else 0
    if cost is None or not cost.layers:
        return loaded.kv_cache_bytes_per_token * (sequences * tokens + spare)
    return round(sequences * float(work.cache_bytes(cost, tokens))) + loaded.kv_cache_bytes_per_token * spare
