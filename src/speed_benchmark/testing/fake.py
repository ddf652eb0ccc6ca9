"""An engine with a virtual clock and a script of faults: the policy around engines is tested against it.

The script is JSON in the checkpoint folder's `fake.json`; without one, every request takes `prefill_s` to its
first token and `token_s` to each one after it, and nothing goes wrong. All sequences of a batch get their tokens at
the same moments, but for `stagger_s`.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from speed_benchmark.engines.protocol import (
    Clock,
    DeviceWindow,
    Engine,
    Loaded,
    LoadRequest,
    OutOfMemoryError,
    Request,
    Sampling,
    Tracer,
)
from speed_benchmark.engines.settings import Settings, Traits
from speed_benchmark.engines.steps import Activity, window
from speed_benchmark.record.base import Frozen
from speed_benchmark.testing.faults import At, Fault, do


class Script(Frozen):
    """How the fake engine behaves. `requests` overrides prefill_s and token_s of single requests, by their index.

    Sequence i of a batch gets its tokens i times `stagger_s` later than the first. `repeated_prefill_s` replaces
    prefill_s for prompts that were sent before: a cache that keeps quiet about itself. Requests of more than
    `room_tokens` in all run out of memory. `real_token_s` is slept, in real time, per token of the first sequence.
    `token_growth_s` is added to token_s for every position before a token, as attention does. With `kernels`, seconds
    of each kernel in a step, there is a device: they run at the start of a step, in one graph, with `graph_gap_s`
    between each two; then the device waits for the host.
    """

    load_s: float = 10.0
    prefill_s: float = 0.5
    token_s: float = 0.01
    token_growth_s: float = 0.0
    kernels: dict[str, float] = Field(default_factory=dict)
    graph_gap_s: float = 0.0
    stagger_s: float = 0.0
    requests: dict[int, tuple[float, float]] = Field(default_factory=dict)
    unix_rate: float = 1.0
    repeated_prefill_s: float | None = None
    finite_logits: bool | None = None
    real_token_s: float = 0.0
    room_tokens: int | None = None
    quantization: str = "BF16"
    prefix_caching: bool = False
    faults: tuple[Fault, ...] = ()


class VirtualClock:
    """A clock that moves only when it is told to, and the system's clock, which runs `unix_rate` times as fast."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.unix_rate = 1.0

    def now(self) -> float:
        """Virtual seconds."""
        return self.time_s

    def unix(self) -> float:
        """Virtual seconds on the system's clock."""
        return self.unix_rate * self.time_s

    def synchronize(self) -> None:
        """Nothing is ever outstanding."""


class VirtualTracer:
    """Traces the kernels of a script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._steps_s: list[float] = []

    def start(self) -> None:
        """Forget the steps so far."""
        self._steps_s.clear()

    def step(self, length_s: float) -> None:
        """A step has been made."""
        self._steps_s.append(length_s)

    def stop(self, tokens: int) -> DeviceWindow:
        """The steps since `start`."""
        started_s = accumulate(self._steps_s, initial=0.0)
        return window([one for start_s in started_s for one in self._ran(start_s)], tokens)

    def _ran(self, start_s: float) -> Iterator[Activity]:
        """The kernels of a step that starts then."""
        end_s = start_s
        for name, length_s in self._script.kernels.items():
            yield Activity(name, _ns(end_s), _ns(end_s + length_s), launched_ns=_ns(start_s))
            end_s += length_s + self._script.graph_gap_s


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


@dataclass(frozen=True, kw_only=True)
class FakeSettings(Settings):
    """The fake engine has no options."""

    traits: ClassVar[Traits] = Traits(title="Fake (simulated)", simulated=True)

    @classmethod
    def engine(cls) -> Engine:
        """The engine itself."""
        return FakeEngine()


class FakeEngine:
    """Generates the ids 0, 1, 2, … for each sequence at scripted virtual times."""

    def __init__(self) -> None:
        self._virtual = VirtualClock()
        self.clock: Clock = self._virtual

    @contextmanager
    def open(self, load: LoadRequest) -> "Iterator[RunningFake]":
        """Read the script; the fault of `close` happens when the context is left without an error."""
        file = Path(load.checkpoint_dir) / "fake.json"
        script = Script.model_validate(json.loads(file.read_text()) if file.is_file() else {})
        running = RunningFake(script, load, self._virtual)
        yield running
        running.fault("close")


class RunningFake:
    """The fake engine with a script, its model loaded."""

    def __init__(self, script: Script, load: LoadRequest, clock: VirtualClock) -> None:
        self.clock: Clock = clock
        self.cached_tokens: int | None = 0
        self._tracer = VirtualTracer(script)
        self.tracer: Tracer | None = self._tracer if script.kernels else None
        self._virtual = clock
        self._script = script
        self._request = Request(prompts=(), generate_length=1, sampling=Sampling(), seed=0)
        self._requests = 0
        self._prompts: set[tuple[int, ...]] = set()
        self.fault("load")
        clock.unix_rate = script.unix_rate
        clock.time_s += script.load_s
        self.loaded = Loaded(
            attention_implementation="fake",
            quantization=script.quantization,
            dtype="bfloat16",
            execution="eager",
            weight_bytes=0,
            rope="yarn factor 4.0" if load.config_overrides else "default",
            devices=("fake",),
            prefix_caching=script.prefix_caching,
            max_sequences=load.max_sequences,
            finite_logits=script.finite_logits,
            simulated=True,
        )

    def prepare(self, request: Request) -> None:
        """Keep the request."""
        self.fault("prepare")
        asked = len(request.prompts) * (request.context_length + request.generate_length)
        if self._script.room_tokens is not None and asked > self._script.room_tokens:
            raise OutOfMemoryError(f"{asked} tokens, and the fake device has room for {self._script.room_tokens}")
        self._request = request

    def generate(self, on_token: Callable[[int], None]) -> Sequence[Sequence[int]]:
        """Move the clock from token to token."""
        self._requests += 1
        actions = self.fault("generate")
        count, sequences = self._count(actions), len(self._request.prompts)
        steps_s = self._steps_s(count)
        self._prompts.update(self._request.prompts)
        self.cached_tokens = 16 if "cached_prompt" in actions else 0
        moments_s = list(accumulate(steps_s))
        shown_s = list(accumulate(_backward(steps_s))) if "backward_times" in actions else moments_s
        stagger_s, start_s = self._script.stagger_s, self._virtual.time_s
        order = sorted((moments_s[token] + i * stagger_s, token, i) for i in range(sequences) for token in range(count))
        for _, token, sequence in order:
            self._virtual.time_s = start_s + shown_s[token] + sequence * stagger_s
            if self._script.real_token_s and not sequence:
                time.sleep(self._script.real_token_s)
            if not sequence:
                self._tracer.step(steps_s[token])
            on_token(sequence)
        return [range(count)] * sequences

    def fault(self, at: At) -> set[str]:
        """Do what the script says for this call; return what the caller has to do itself."""
        due = {
            fault.action
            for fault in self._script.faults
            if fault.at == at and (at != "generate" or fault.request == self._requests - 1)
        }
        for action in due:
            do(action)
        return set(due)

    def _count(self, actions: set[str]) -> int:
        """How many tokens come of each sequence."""
        asked = self._request.generate_length
        wanted = {"fewer_tokens": asked - 1, "more_tokens": asked + 1, "no_tokens": 0, "early_end": asked // 2}
        return next((tokens for action, tokens in wanted.items() if action in actions), asked)

    def _steps_s(self, count: int) -> list[float]:
        """From token to token of the first sequence."""
        script, request = self._script, self._request
        prefill_s, token_s = script.requests.get(self._requests - 1, (script.prefill_s, script.token_s))
        if script.repeated_prefill_s is not None and self._prompts.issuperset(request.prompts):
            prefill_s = script.repeated_prefill_s
        later = (token_s + script.token_growth_s * (request.context_length + token) for token in range(1, count))
        return [prefill_s, *later][:count]


def _backward(steps_s: list[float]) -> list[float]:
    """The same steps, but that the clock goes backward before the second token."""
    return [-step_s if token == 1 else step_s for token, step_s in enumerate(steps_s)]
