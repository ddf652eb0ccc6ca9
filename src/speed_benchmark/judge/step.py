"""What a decoding step is made of: the device's time by what it did, its own gaps, and its wait for the host. Pure.

The device's times are those under the profiler, which hardly change what runs on the device; the whole step is the
median of the measured requests, without it, since the profiler slows down launches.
"""

import re
from collections.abc import Sequence

import numpy as np

from speed_benchmark.judge import work
from speed_benchmark.judge.judgement import StepPart, StepSplit, WindowSplit
from speed_benchmark.judge.roofline import bandwidth
from speed_benchmark.judge.statistics import whole_requests
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.record import DeviceWindow, Kernel, Record
from speed_benchmark.record.sample import Sample

# What kernels are called that do a part of a step, by the first part that knows the name: those of cuBLAS, CUTLASS,
# FlashAttention, FlashInfer, PyTorch, its compiler and engines. FlashInfer has attention, sampling and norms too, and a
# mixture of experts chooses these by a softmax.
KINDS: tuple[tuple[StepPart, re.Pattern[str]], ...] = (
    (
        "attention",
        re.compile(
            r"flash_|flash::|flashattn|mha|sdpa|attention|attn|paged|splitkv|batch(decode|prefill)|singledecode"
            r"|(reshape|concat).*cache|mla_|xqa|mergestate",
            re.IGNORECASE,
        ),
    ),
    (
        "matrix",
        re.compile(
            r"gemm|gemv|cutlass|nvjet|xmma|cublas|marlin|machete|splitk|dot_kernel|matmul|triton_(tem_\w*)?mm|awq|gptq|exllama"
            r"|dequant|moe|wgmma|s16816|s1688",
            re.IGNORECASE,
        ),
    ),
    (
        "sampling",
        re.compile(
            r"sampl|softmax|top_?[kp]|min_p|argmax|multinomial|sort|scan|distribution|exponential|penalt|gumbel|logit"
            r"|temperature|bincount",
            re.IGNORECASE,
        ),
    ),
    ("normalisation", re.compile(r"norm|rsqrt", re.IGNORECASE)),
)


def kind(name: str) -> StepPart:
    """What a kernel of this name does; "other" where the name says nothing."""
    return next((part for part, known in KINDS if known.search(name)), "other")


def step_split(record: Record) -> StepSplit | None:
    """The split of a decoding step; None where it was not traced, or no step was measured at the same positions.

    A step's time grows evenly with the position, so that the mean of the two windows is that of the whole output.
    """
    if record.profile is None or record.profile.start is None or not all(one.is_timed for one in record.samples):
        return None
    requests = whole_requests(record.samples, record.cell)
    traced = [window for window in (record.profile.start, record.profile.end) if window]
    windows = [split for window in traced if (split := _split(window, requests, record))]
    if not windows:
        return None
    own_s = [window.device_s + window.parts_s["gap"] for window in windows]
    whole_s = sum(sum(window.parts_s.values()) for window in windows)
    if not sum(own_s) or not whole_s:
        return None
    shares = {part: sum(window.parts_s[part] for window in windows) / whole_s for part in windows[0].parts_s}
    return StepSplit(
        windows=tuple(windows),
        device_s_per_token=float(np.mean([window.device_s for window in windows])),
        device_tokens_per_s=record.cell.workload.batch_size / float(np.mean(own_s)),
        host_share=shares["host"],
        shares=shares,
    )


def _split(window: DeviceWindow, requests: Sequence[Sample], record: Record) -> WindowSplit | None:
    step_s = _step_s(window, requests)
    if step_s is None:
        return None
    by_kind = _by_kind(window.kernels, window.device_s)
    weights_s, cache_s = _at_the_roof(window, requests[0], record.token_cost, record.device_peaks)
    weights_s, cache_s = min(weights_s, by_kind["matrix"]), min(cache_s, by_kind["attention"])
    # The profiler makes gaps longer too, which can't be longer than what a measured step leaves for them.
    gap_s = min(window.graph_gap_s, max(0.0, step_s - window.device_s))
    return WindowSplit(
        first_token=window.first_token,
        step_s=step_s,
        device_s=window.device_s,
        parts_s={
            "weights": weights_s,
            "cache": cache_s,
            "matrix": by_kind["matrix"] - weights_s,
            "attention": by_kind["attention"] - cache_s,
            "sampling": by_kind["sampling"],
            "normalisation": by_kind["normalisation"],
            "other": by_kind["other"],
            "gap": gap_s,
            "host": max(0.0, step_s - window.device_s - gap_s),
        },
    )


def _step_s(window: DeviceWindow, requests: Sequence[Sample]) -> float | None:
    """The median gap before the tokens that stand where the traced ones did, over all sequences of all requests."""
    first = max(0, window.first_token - 1)
    gaps_s = [
        np.diff(sequence.token_times_s)[first : first + window.tokens]
        for request in requests
        for sequence in request.sequences
    ]
    together_s = np.concatenate(gaps_s) if gaps_s else np.empty(0)
    return float(np.median(together_s)) if len(together_s) else None


def _by_kind(kernels: Sequence[Kernel], device_s: float) -> dict[StepPart, float]:
    """The device's time by what it did: what ran at the same time shares it, in proportion."""
    found: dict[StepPart, float] = dict.fromkeys(("attention", "sampling", "matrix", "normalisation", "other"), 0.0)
    for kernel in kernels:
        found[kind(kernel.name)] += kernel.s_per_token
    total_s = sum(found.values())
    return {part: device_s * part_s / total_s if total_s else 0.0 for part, part_s in found.items()}


def _at_the_roof(
    window: DeviceWindow, request: Sample, cost: TokenCost | None, peaks: DevicePeaks | None
) -> tuple[float, float]:
    """The least time for the weights, and for the cache in the middle of the window; 0 where costs are not known."""
    if cost is None or peaks is None:
        return 0.0, 0.0
    middle = window.first_token + window.tokens / 2
    lengths = [sequence.prompt_tokens + middle for sequence in request.sequences]
    weight_bytes = float(work.weight_bytes(cost, len(lengths)))
    cache_bytes = float(work.cache_bytes(cost, lengths).sum())
    devices = cost.devices_at_once
    bytes_per_s = bandwidth(peaks, (weight_bytes + cache_bytes) / devices) * devices
    return weight_bytes / bytes_per_s, cache_bytes / bytes_per_s
