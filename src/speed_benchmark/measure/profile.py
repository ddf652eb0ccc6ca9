"""How busy the device is while tokens are decoded: a pass of its own under PyTorch's profiler, no part of any speed."""

import sys
import time
from collections.abc import Iterable
from typing import Any

from speed_benchmark.engines.protocol import Engine, Request
from speed_benchmark.results.record import Profile

TOKENS = 32
# The first tokens after the prompt are not yet like the others.
SKIPPED = 2


def device_busy(engine: Engine, request: Request) -> Profile | None:
    """The share of the time in which a GPU ran a kernel, from a third token on; None where there is no GPU in reach.

    A short request of the same prompt, in the same cache. The profiler starts and stops between tokens; what it adds
    to each launch makes the share a little smaller than it is. Whatever goes wrong is said in the answer: this must
    not cost a record.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    tokens = min(TOKENS, request.generate_length - SKIPPED - 1)
    if tokens < 1:
        return None
    short = request.model_copy(update={"generate_length": SKIPPED + 1 + tokens, "room_tokens": request.total_tokens})
    try:
        return _profile(torch, engine, short, tokens)
    except Exception as error:  # noqa: BLE001 - said in the record, which is whole without it
        return Profile(error=" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _profile(torch: Any, engine: Engine, request: Request, tokens: int) -> Profile:  # noqa: ANN401
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
    seen, moments = 0, []

    def on_token() -> None:
        nonlocal seen
        seen += 1
        if seen == SKIPPED + 1:
            engine.clock.synchronize()
            profiler.start()
            moments.append(time.perf_counter())
        elif seen == SKIPPED + 1 + tokens:
            engine.clock.synchronize()
            moments.append(time.perf_counter())
            profiler.stop()

    engine.prepare(request)
    engine.generate(on_token)
    if len(moments) != 2:
        if moments:
            profiler.stop()
        return Profile(error=f"{seen} tokens came, {request.generate_length} were asked for")
    spans = [
        (event.start_ns(), event.start_ns() + event.duration_ns())
        for event in profiler.profiler.kineto_results.events()
        if event.device_type() == torch.autograd.DeviceType.CUDA
    ]
    if not spans:
        return Profile(error="the profiler saw nothing on the GPU")
    return Profile(device_busy_share=min(1.0, covered(spans) / 1e9 / (moments[1] - moments[0])), tokens=tokens)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of the intervals (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
