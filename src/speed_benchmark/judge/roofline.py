"""How far the hardware could go with a cell, and how much of that was reached: a pure rule over its record.

The model of S. Williams, A. Waterman and D. Patterson, "Roofline" (2009): a step takes at least as long as its bytes
take at the measured bandwidth, and at least as long as its operations take at the measured matrix rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from speed_benchmark.record.record import Rates, Record, Roofline, Sample, Work

# A device that idles for more than a fifth of the time waits for the host.
BUSY = 0.8
# Where nothing says how busy the device is: one of the two roofs is what binds if half of it is used.
HALF = 0.5


@dataclass(frozen=True)
class _Phase:
    """Prefill or decoding over all samples: how long it took, and the least it could take by either roof."""

    tokens: int
    taken_s: float
    memory_s: float
    arithmetic_s: float
    least_s: float


def roofline(record: Record) -> Roofline | None:
    """The roofline of `record`; None where what it costs, what the device can do, or a time is not known."""
    work, rates = record.work, record.rates
    samples = [sample for sample in record.samples if sample.token_times_s and sample.token_times_s[0] > 0]
    if work is None or rates is None or not samples or len(samples) < len(record.samples):
        return None
    prefills = [_prefill(sample, work, rates) for sample in samples]
    decodes = [phase for phase in (_decode(sample, work, rates) for sample in samples) if phase]
    prefill, decode = _together(prefills), _together(decodes) if decodes else None
    busy = record.profile.device_busy_share if record.profile else None
    longest = decode if decode and decode.taken_s >= prefill.taken_s else prefill
    return Roofline(
        decode_limit_tokens_per_s=decode.tokens / decode.least_s if decode else None,
        decode_bandwidth_share=decode.memory_s / decode.taken_s if decode else None,
        prefill_limit_tokens_per_s=prefill.tokens / prefill.least_s,
        prefill_matrix_share=prefill.arithmetic_s / prefill.taken_s,
        fastest_share=max(phase.least_s / phase.taken_s for phase in (*prefills, *decodes)),
        device_busy_share=busy,
        binds=_binds(longest, busy if longest is decode else None),
    )


def bandwidth(rates: Rates, working_set_bytes: float) -> float:
    """The bytes/s at which so large a working set can be read again and again.

    That is the best measured with any set at least as large as the largest one measured that is not larger: what
    fits a cache may be faster than memory, and what is small is slowed down by starting the reading.
    """
    smaller = [size for size, _ in rates.bandwidths if size <= working_set_bytes]
    least = max(smaller, default=0)
    return max(rate for size, rate in rates.bandwidths if size >= least)


def _prefill(sample: Sample, work: Work, rates: Rates) -> _Phase:
    """The prompt, up to the first token: each of its tokens attends to itself and to those before it."""
    prompt = sample.prompt_tokens
    attended = prompt * (prompt + 1) / 2
    flops = work.prefill_flops * (prompt - 1) + work.flops + work.attention_flops_per_token * attended
    needed_bytes = work.weight_bytes + work.kv_cache_bytes_per_token * prompt
    return _phase(prompt, [(flops, needed_bytes)], sample.token_times_s[0], work, rates)


def _decode(sample: Sample, work: Work, rates: Rates) -> _Phase | None:
    """All tokens after the first: each reads the weights and the cache of what is before it."""
    times_s = sample.token_times_s
    if len(times_s) < 2 or times_s[-1] <= times_s[0]:
        return None
    positions = range(sample.prompt_tokens + 1, sample.prompt_tokens + len(times_s))
    steps = [
        (
            work.flops + work.attention_flops_per_token * position,
            work.weight_bytes + work.kv_cache_bytes_per_token * position,
        )
        for position in positions
    ]
    return _phase(len(steps), steps, times_s[-1] - times_s[0], work, rates)


def _phase(tokens: int, steps: Sequence[tuple[float, float]], taken_s: float, work: Work, rates: Rates) -> _Phase:
    """The phase made of `steps`, each of so many operations and bytes."""
    flops, needed_bytes = (sum(column) for column in zip(*steps, strict=True))
    matrix_rate = rates.flops_per_s * work.devices_at_once
    memory_rate = bandwidth(rates, steps[0][1] / work.devices_at_once) * work.devices_at_once
    return _Phase(
        tokens=tokens,
        taken_s=taken_s,
        memory_s=needed_bytes / memory_rate,
        arithmetic_s=flops / matrix_rate,
        least_s=sum(max(one_flops / matrix_rate, one_bytes / memory_rate) for one_flops, one_bytes in steps),
    )


def _together(phases: list[_Phase]) -> _Phase:
    names = ("tokens", "taken_s", "memory_s", "arithmetic_s", "least_s")
    return _Phase(**{name: sum(getattr(phase, name) for phase in phases) for name in names})


def _binds(phase: _Phase, busy: float | None) -> Literal["memory", "arithmetic", "host"]:
    nearer: Literal["memory", "arithmetic"] = "memory" if phase.memory_s >= phase.arithmetic_s else "arithmetic"
    if busy is not None:
        return nearer if busy >= BUSY else "host"
    return nearer if max(phase.memory_s, phase.arithmetic_s) >= HALF * phase.taken_s else "host"
