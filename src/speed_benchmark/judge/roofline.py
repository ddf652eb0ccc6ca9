"""How far the hardware could go with a cell, and how much of that was reached: a pure rule over its record.

The model of S. Williams, A. Waterman and D. Patterson, "Roofline" (2009): a step takes at least as long as its bytes
take at the measured bandwidth, and at least as long as its operations take at the measured operations/s.

What binds a phase is the largest of three parts of its time: the nearer roof, what the device takes beyond that, and
its wait for the host. An engine that launches steps ahead is bound by its host wherever the device waits at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speed_benchmark.judge import work
from speed_benchmark.judge.judgement import Roofline, StepSplit
from speed_benchmark.judge.statistics import decoded_tokens, decodes
from speed_benchmark.judge.token_times import signatures
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample

# Of records before the split of a step: a device that idles for more than a fifth of the time waits for the host,
# unless the times of tokens say that it does not, because the profiler makes launches longer and the idle time with
# them.
BUSY = 0.8
# Of an engine that launches ahead, a device that waits for more of the time waits for the host. Where it does not, what
# is left of a step beside the device's time and its gaps was 0 to 6 % on H100 (they come from another run, under the
# profiler); where token times say that the host sets the pace, 26 % and more.
WAIT = 0.1
# One of the two roofs bounds a phase that uses half of it.
HALF = 0.5

Bound = Literal["memory", "compute", "device", "host_launch"]


@dataclass(frozen=True)
class _Phase:
    """Prefill or decoding over all samples: how long it took, and the least it could take by either roof."""

    tokens: int
    taken_s: float
    memory_s: float
    compute_s: float
    least_s: float


def roofline(record: Record, step: StepSplit | None = None) -> Roofline | None:
    """The roofline of `record`; None where what it costs, what the device can do, or a time is not known."""
    cost, peaks = record.token_cost, record.device_peaks
    if cost is None or peaks is None or not record.samples or not all(one.is_timed for one in record.samples):
        return None
    prefills = [_prefill(sample, cost, peaks) for sample in record.samples]
    decodes_of = [_decode(sample, cost, peaks) for sample in record.samples if decodes(sample)]
    prefill, decode = _together(prefills), _together(decodes_of) if decodes_of else None
    return Roofline(
        decode_limit_tokens_per_s=decode.tokens / decode.least_s if decode else None,
        mbu=decode.memory_s / decode.taken_s if decode else None,
        prefill_limit_tokens_per_s=prefill.tokens / prefill.least_s,
        mfu=prefill.compute_s / prefill.taken_s,
        highest_utilization=max(phase.least_s / phase.taken_s for phase in (*prefills, *decodes_of)),
        device_busy_share=_busy_share(record, step),
        bound_by=_bound_by(record, step, prefill, decode),
    )


def bandwidth(peaks: DevicePeaks, working_set_bytes: float) -> float:
    """The bytes/s at which so large a working set can be read again and again.

    That is the best measured with any set at least as large as the largest one measured that is not larger: what
    fits a cache may be faster than memory, and what is small is slowed down by starting the reading.
    """
    smaller = [size for size, _ in peaks.bandwidths if size <= working_set_bytes]
    least = max(smaller, default=0)
    return max(rate for size, rate in peaks.bandwidths if size >= least)


def _prefill(sample: Sample, cost: TokenCost, peaks: DevicePeaks) -> _Phase:
    """The prompts, until every sequence has its first token: each token attends to itself and to those before it.

    The weights, of experts those that any token goes through, are read once at least, however many steps the engine
    takes.
    """
    prompts = [sequence.prompt_tokens for sequence in sample.sequences]
    inner = sum(prompts) - len(prompts)
    attention_flops = sum(work.prompt_attention_flops(cost, prompt) for prompt in prompts)
    flops = cost.prefill_flops * inner + cost.flops * len(prompts) + attention_flops
    needed_bytes = float(work.weight_bytes(cost, sum(prompts)) + work.cache_bytes(cost, prompts).sum())
    return _phase(sum(prompts), [flops], [needed_bytes], sample.all_started_s, cost, peaks)


def _decode(sample: Sample, cost: TokenCost, peaks: DevicePeaks) -> _Phase:
    """All tokens after every sequence had its first: a step reads the weights once, and the cache of each sequence."""
    decoded = decoded_tokens(sample)
    running, cache_bytes, attention_flops = np.zeros((3, max(decoded)))
    for sequence, count in zip(sample.sequences, decoded, strict=True):
        running[:count] += 1
        ahead = sequence.prompt_tokens + len(sequence.token_times_s) - count
        positions = ahead + np.arange(count)
        cache_bytes[:count] += work.cache_bytes(cost, positions)
        attention_flops[:count] += work.attention_flops(cost, positions)
    return _phase(
        sum(decoded),
        cost.flops * running + attention_flops,
        work.weight_bytes(cost, running) + cache_bytes,
        sample.last_token_s - sample.all_started_s,
        cost,
        peaks,
    )


def _phase(
    tokens: int,
    flops: Sequence[float] | NDArray[np.float64],
    needed_bytes: Sequence[float] | NDArray[np.float64],
    taken_s: float,
    cost: TokenCost,
    peaks: DevicePeaks,
) -> _Phase:
    """The phase made of steps of so many operations and bytes each."""
    flops_per_s = peaks.flops_per_s * cost.devices_at_once
    bytes_per_s = bandwidth(peaks, float(needed_bytes[0]) / cost.devices_at_once) * cost.devices_at_once
    compute_s, memory_s = np.asarray(flops) / flops_per_s, np.asarray(needed_bytes) / bytes_per_s
    return _Phase(
        tokens=tokens,
        taken_s=taken_s,
        memory_s=float(memory_s.sum()),
        compute_s=float(compute_s.sum()),
        least_s=float(np.maximum(compute_s, memory_s).sum()),
    )


def _together(phases: Sequence[_Phase]) -> _Phase:
    return _Phase(**{one.name: sum(getattr(phase, one.name) for phase in phases) for one in fields(_Phase)})


def _busy_share(record: Record, step: StepSplit | None) -> float | None:
    if step:
        return min(1.0, sum(one.device_s for one in step.windows) / sum(one.step_s for one in step.windows))
    return record.profile.device_busy_share if record.profile else None


def _bound_by(record: Record, step: StepSplit | None, prefill: _Phase, decode: _Phase | None) -> Bound:
    """By the best that is known of the longer phase; that of decoding says nothing about prefill."""
    if decode is None or decode.taken_s < prefill.taken_s:
        return _by_roof(prefill, "device" if step else "host_launch")
    if step:
        ahead = record.loaded is not None and bool(record.loaded.async_scheduling)
        return _by_split(decode, step.host_share, launches_ahead=ahead)
    busy = _busy_share(record, step)
    if busy is None:
        return _by_roof(decode, "host_launch")
    if busy >= BUSY:
        return _nearer(decode)
    seen = signatures(record)
    return _by_roof(decode, "device") if seen and seen.pace == "device" else "host_launch"


def _by_split(phase: _Phase, host_share: float, *, launches_ahead: bool) -> Bound:
    """The largest of three parts of a step: the nearer roof, what the device takes beyond it, and the host.

    Where the engine launches the next step while the device is at one, the device waits only for a host that is slower
    than itself: a faster device would only wait longer.
    """
    roof_share = max(phase.memory_s, phase.compute_s) / phase.taken_s
    beyond_share = 1 - host_share - roof_share
    if host_share > (WAIT if launches_ahead else max(roof_share, beyond_share)):
        return "host_launch"
    return _nearer(phase) if roof_share >= beyond_share else "device"


def _by_roof(phase: _Phase, otherwise: Bound) -> Bound:
    return _nearer(phase) if max(phase.memory_s, phase.compute_s) >= HALF * phase.taken_s else otherwise


def _nearer(phase: _Phase) -> Bound:
    return "memory" if phase.memory_s >= phase.compute_s else "compute"
