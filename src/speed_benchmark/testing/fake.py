"""An engine with a virtual clock and a script of faults: the policy around engines is tested against it.

The script is JSON in the checkpoint folder's `fake.json`; without one, every request takes `prefill_s` to its
first token and `token_s` to each one after it, and nothing goes wrong.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from speed_benchmark.engines.protocol import Load, Loaded, OutOfMemoryError, Request
from speed_benchmark.record.record import Frozen
from speed_benchmark.testing.faults import Fault, do


class Script(Frozen):
    """How the fake engine behaves. `requests` overrides prefill_s and token_s of single requests, by their index.

    `repeated_prefill_s` replaces prefill_s for a prompt that was sent before: a cache that keeps quiet about itself.
    Requests of more than `room_tokens` in all run out of memory. `real_token_s` is slept, in real time, per token.
    `token_growth_s` is added to token_s for every position before a token, as attention does.
    """

    load_s: float = 10.0
    prefill_s: float = 0.5
    token_s: float = 0.01
    token_growth_s: float = 0.0
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


class FakeEngine:
    """Generates the ids 0, 1, 2, … at scripted virtual times."""

    requires: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.cached_tokens: int | None = 0
        self._script = Script()
        self._request: Request | None = None
        self._requests = 0
        self._prompts: set[tuple[int, ...]] = set()

    def load(self, load: Load) -> Loaded:
        """Read the script."""
        file = Path(load.checkpoint_dir) / "fake.json"
        if file.is_file():
            self._script = Script.model_validate(json.loads(file.read_text()))
        self._fault("load")
        self.clock.unix_rate = self._script.unix_rate
        self.clock.time_s += self._script.load_s
        return Loaded(
            attention_implementation="fake",
            quantization=self._script.quantization,
            dtype="bfloat16",
            execution="eager",
            weight_bytes=0,
            rope="yarn factor 4.0" if load.config_overrides else "default",
            devices=("fake",),
            prefix_caching=self._script.prefix_caching,
            finite_logits=self._script.finite_logits,
        )

    def prepare(self, request: Request) -> None:
        """Keep the request."""
        self._fault("prepare")
        asked = len(request.prompt_token_ids) + request.generate_length
        if self._script.room_tokens is not None and asked > self._script.room_tokens:
            raise OutOfMemoryError(f"{asked} tokens, and the fake device has room for {self._script.room_tokens}")
        self._request = request

    def generate(self, on_token: Callable[[], None]) -> Sequence[int]:
        """Move the clock from token to token."""
        assert self._request is not None  # noqa: S101 - prepare comes first
        number = self._requests
        self._requests += 1
        actions = self._fault("generate")
        prefill_s, token_s = self._script.requests.get(number, (self._script.prefill_s, self._script.token_s))
        prompt, count = self._request.prompt_token_ids, self._request.generate_length
        if prompt in self._prompts and self._script.repeated_prefill_s is not None:
            prefill_s = self._script.repeated_prefill_s
        self._prompts.add(prompt)
        wanted = {"fewer_tokens": count - 1, "more_tokens": count + 1, "no_tokens": 0, "early_end": count // 2}
        count = next((tokens for action, tokens in wanted.items() if action in actions), count)
        self.cached_tokens = 16 if "cached_prompt" in actions else 0
        for index in range(count):
            step_s = token_s + self._script.token_growth_s * (len(prompt) + index) if index else prefill_s
            self.clock.time_s += -step_s if "backward_times" in actions and index == 1 else step_s
            if self._script.real_token_s:
                time.sleep(self._script.real_token_s)
            on_token()
        return range(count)

    def close(self) -> None:
        """Nothing is held."""
        self._fault("close")

    def _fault(self, at: str) -> set[str]:
        """Do what the script says for this call; return what the caller has to do itself."""
        due = {
            fault.action
            for fault in self._script.faults
            if fault.at == at and (at != "generate" or fault.request == self._requests - 1)
        }
        for action in due:
            do(action)
        return set(due)
