"""What the device does for a token: short requests of their own under PyTorch's profiler, no part of any speed."""

from speed_benchmark.engines.protocol import DeviceWindow, Request, Running, Tracer
from speed_benchmark.engines.steps import AHEAD, FEWEST_STEPS
from speed_benchmark.record.record import Profile

TOKENS = 32
# The first tokens after the prompt are not yet like the others.
SKIPPED = 2
# The tokens of a request that has a whole window in it.
WINDOW_TOKENS = SKIPPED + 1 + TOKENS + AHEAD


def left_out(generate_length: int) -> int:
    """How many tokens of the output come before a window at its end; 0 where that window would overlap the first."""
    before = generate_length - WINDOW_TOKENS
    return before if before >= TOKENS else 0


def profile(running: Running, start: Request, end: Request | None = None) -> Profile | None:
    """The steps at the start of the output of `start`; `end` has longer prompts, and stands for the output's end.

    None where there is no GPU in reach, and where the output is too short to have steps. What goes wrong with the
    profiler is said in the answer; what goes wrong with the engine is raised.
    """
    tracer = running.tracer
    tokens = min(TOKENS, start.generate_length - SKIPPED - 1 - AHEAD)
    if tracer is None or tokens <= FEWEST_STEPS:
        return None
    first = _watched(running, tracer, start, tokens)
    if end is None or first.error:
        return Profile(start=first.window, error=first.error)
    last = _watched(running, tracer, end, tokens)
    ahead = end.context_length - start.context_length
    return Profile(start=first.window, end=last.window and _later(last.window, ahead), error=last.error)


def _later(window: DeviceWindow, tokens: int) -> DeviceWindow:
    return window.model_copy(update={"first_token": window.first_token + tokens})


def _watched(running: Running, tracer: Tracer, request: Request, tokens: int) -> "_Watch":
    """What was seen of a short request of the same prompts in the same cache.

    The profiler starts and stops between tokens. It would stay attached and slow down what is measured later, but for
    a variable in a worker's environment.
    """
    watch = _Watch(tracer, tokens, len(request.prompts))
    asked = {"generate_length": watch.last + AHEAD, "cache_tokens": request.total_tokens}
    running.prepare(request.model_copy(update=asked))
    running.generate(watch.on_token)
    watch.end()
    return watch


class _Watch:
    """Starts the profiler once every sequence has its `first` token, and stops it once every one has its `last`.

    At the end there is a `window`, or an `error`.
    """

    def __init__(self, tracer: Tracer, tokens: int, sequences: int) -> None:
        self._tracer, self._tokens = tracer, tokens
        self.first, self.last = SKIPPED + 1, SKIPPED + 1 + tokens
        self._seen = [0] * sequences
        self._missing = {self.first: sequences, self.last: sequences}
        self._is_tracing = False
        self.window: DeviceWindow | None = None
        self.error: str | None = None

    def on_token(self, sequence: int) -> None:
        """Count a token of one sequence."""
        self._seen[sequence] += 1
        token = self._seen[sequence]
        if token not in self._missing:
            return
        self._missing[token] -= 1
        if self.error is None and not self._missing[token]:
            self._switch(start=token == self.first)

    def end(self) -> None:
        """No token comes any more."""
        is_short = self.error is None and any(self._missing.values())
        if self._is_tracing:
            self._switch(start=False)  # or it would watch whatever comes later
        if is_short:
            self.window, self.error = None, f"{min(self._seen)} tokens came, {self.last} were asked for"

    def _switch(self, *, start: bool) -> None:
        self._is_tracing = start
        try:
            if start:
                self._tracer.start()
            else:
                self.window = _later(self._tracer.stop(self._tokens), self.first)
        except Exception as error:  # noqa: BLE001 - said in the record, which is whole without it
            self._is_tracing, self.error = False, _line(error)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
