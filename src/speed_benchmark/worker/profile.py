"""How busy the device is while tokens are decoded: a pass of its own under PyTorch's profiler, no part of any speed."""

from collections.abc import Iterable, Sequence

from speed_benchmark.engines.protocol import Request, Running, Tracer
from speed_benchmark.record.record import Profile

TOKENS = 32
# The first tokens after the prompt are not yet like the others.
SKIPPED = 2
# An engine in a process of its own is some steps ahead of what is heard of it: it must not run dry at the end.
AHEAD = 4


def device_busy(running: Running, request: Request) -> Profile | None:
    """The share of the time in which a GPU ran a kernel, from a third token on; None where there is no GPU in reach.

    A short request of the same prompts, in the same cache; of a batch from when every sequence has its third token.
    The profiler starts and stops between tokens; what it adds to each launch makes the share a little smaller than it
    is. It would stay attached and slow down what is measured later, but for a variable in a worker's environment. What
    goes wrong with the profiler is said in the answer; what goes wrong with the engine is raised.
    """
    tracer = running.tracer
    if tracer is None:
        return None
    tokens = min(TOKENS, request.generate_length - SKIPPED - 1 - AHEAD)
    if tokens < 1:
        return None
    watch = _Watch(tracer, tokens, len(request.prompts))
    asked = {"generate_length": watch.last + AHEAD, "cache_tokens": request.total_tokens}
    running.prepare(request.model_copy(update=asked))
    running.generate(watch.on_token)
    return watch.profile()


class _Watch:
    """Starts the profiler once every sequence has its `first` token, and stops it once every one has its `last`."""

    def __init__(self, tracer: Tracer, tokens: int, sequences: int) -> None:
        self._tracer, self._tokens = tracer, tokens
        self.first, self.last = SKIPPED + 1, SKIPPED + 1 + tokens
        self._seen = [0] * sequences
        self._missing = {self.first: sequences, self.last: sequences}
        self._is_tracing = False
        self._traced: tuple[float, Sequence[tuple[int, int]]] | None = None
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
        if self._is_tracing and not self._error:
            self._tracer.stop()  # or it would watch whatever comes later
        if self._error or not self._traced:
            return Profile(error=self._error or f"{min(self._seen)} tokens came, {self.last} were asked for")
        seconds, spans = self._traced
        if not spans:
            return Profile(error="the profiler saw nothing on the GPU")
        return Profile(device_busy_share=min(1.0, covered(spans) / 1e9 / seconds), tokens=self._tokens)

    def _switch(self, *, start: bool) -> None:
        if start:
            self._tracer.start()
            self._is_tracing = True
        else:
            self._is_tracing = False
            self._traced = self._tracer.stop()


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of the intervals (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
