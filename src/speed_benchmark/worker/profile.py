"""How busy the device is while tokens are decoded: a pass of its own under PyTorch's profiler, no part of any speed."""

import sys
import time
from collections.abc import Iterable
from typing import Any

from speed_benchmark.engines.protocol import Clock, Request, Running
from speed_benchmark.record.record import Profile

TOKENS = 32
# The first tokens after the prompt are not yet like the others.
SKIPPED = 2


def device_busy(running: Running, request: Request) -> Profile | None:
    """The share of the time in which a GPU ran a kernel, from a third token on; None where there is no GPU in reach.

    A short request of the same prompts, in the same cache; of a batch from when every sequence has its third token.
    The profiler starts and stops between tokens; what it adds to each launch makes the share a little smaller than it
    is. It would stay attached and slow down what is measured later, but for a variable in a worker's environment. What
    goes wrong with the profiler is said in the answer; what goes wrong with the engine is raised.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    tokens = min(TOKENS, request.generate_length - SKIPPED - 1)
    if tokens < 1:
        return None
    watch = _Watch(torch, running.clock, tokens, len(request.prompts))
    running.prepare(request.model_copy(update={"generate_length": watch.last, "cache_tokens": request.total_tokens}))
    running.generate(watch.on_token)
    return watch.profile()


class _Watch:
    """Starts the profiler once every sequence has its `first` token, and stops it once every one has its `last`."""

    def __init__(self, torch: Any, clock: Clock, tokens: int, sequences: int) -> None:  # noqa: ANN401 - see device_busy
        self._torch, self._clock, self._tokens = torch, clock, tokens
        self.first, self.last = SKIPPED + 1, SKIPPED + 1 + tokens
        self._profiler: Any = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        self._seen = [0] * sequences
        self._missing = {self.first: sequences, self.last: sequences}
        self._moments: list[float] = []
        self._error: str | None = None

    def on_token(self, sequence: int) -> None:
        """Count a token of one sequence."""
        self._seen[sequence] += 1
        token = self._seen[sequence]
        if token not in self._missing:
            return
        self._missing[token] -= 1
        if self._error is None and not self._missing[token]:
            try:
                self._switch(start=token == self.first)
            except Exception as error:  # noqa: BLE001 - said in the record, which is whole without it
                self._error = _line(error)

    def profile(self) -> Profile:
        """What it saw."""
        if len(self._moments) == 1 and not self._error:
            self._profiler.stop()  # or it would watch whatever comes later
        if self._error or len(self._moments) != 2:
            return Profile(error=self._error or f"{min(self._seen)} tokens came, {self.last} were asked for")
        try:
            spans = [
                (event.start_ns(), event.start_ns() + event.duration_ns())
                for event in self._profiler.profiler.kineto_results.events()
                if event.device_type() == self._torch.autograd.DeviceType.CUDA
            ]
        except Exception as error:  # noqa: BLE001 - as above
            return Profile(error=_line(error))
        if not spans:
            return Profile(error="the profiler saw nothing on the GPU")
        share = covered(spans) / 1e9 / (self._moments[1] - self._moments[0])
        return Profile(device_busy_share=min(1.0, share), tokens=self._tokens)

    def _switch(self, *, start: bool) -> None:
        self._clock.synchronize()
        if start:
            self._profiler.start()
            self._moments.append(time.perf_counter())
        else:
            self._moments.append(time.perf_counter())
            self._profiler.stop()


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of the intervals (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
