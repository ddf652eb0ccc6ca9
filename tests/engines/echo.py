"""An engine that echoes its prompts: the example of docs/engines.md, measured by tests/engines/test_plugin.py."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from speed_benchmark.cell import Option, Tokens
from speed_benchmark.engines.clock import WallClock
from speed_benchmark.engines.settings import Overhead, Settings, Traits

if TYPE_CHECKING:
    from speed_benchmark.engines.protocol import Clock, LoadRequest, Request, Tracer
    from speed_benchmark.machine.device import Device


@dataclass(frozen=True, kw_only=True)
class EchoSettings(Settings):
    """The options of Echo. `--help` imports this module, so that what is heavy is imported where it is needed."""

    traits: ClassVar[Traits] = Traits(
        title="Echo", packages=("echo",), environment=("ECHO_",),
        split="tensor", preallocates=True, length_option="longest",
    )  # fmt: skip
    longest: Annotated[Tokens, Option("longest prompt plus output of Echo")] = 2048
    voice: Annotated[Literal["low", "high"], Option("how loud it echoes")] = "low"

    @classmethod
    def engine(cls) -> "EchoEngine":
        """The engine itself."""
        return EchoEngine()

    def kept_tokens(self, total_tokens: int, sequences: int = 1) -> int:
        """Its pool has room for `longest` tokens of each sequence, however few a cell needs."""
        return sequences * max(total_tokens, self.longest)

    def prefill_tokens(self, context_tokens: int, device: "Device") -> int:
        """It takes prompts in parts, larger ones on more GPUs."""
        return min(context_tokens, 512 * max(1, device.gpus))

    def overhead(self, device: "Device", *, quantized: bool) -> Overhead:
        """Seconds: to start, of a layer in each step, and of each token of the first request beyond the later ones."""
        first_s = 0.0 if device.gpus else 0.5
        return Overhead(start_s=2.0, layer_s=2e-3 if quantized else 1e-3, first_token_s=first_s)


class EchoEngine:
    """Opens models. Its clock times the load."""

    def __init__(self) -> None:
        self.clock: Clock = WallClock()

    @contextmanager
    def open(self, load: "LoadRequest") -> "Iterator[RunningEcho]":
        """Load a model here, and give its memory back after the yield."""
        yield RunningEcho(EchoSettings.of(load.settings), load.max_sequences)


class RunningEcho:
    """A loaded model: what really runs, and requests."""

    def __init__(self, settings: EchoSettings, sequences: int) -> None:
        from speed_benchmark.engines.protocol import Loaded

        self.clock: Clock = WallClock()
        self.cached_tokens: int | None = None
        self.tracer: Tracer | None = None
        self.loaded = Loaded(
            attention_implementation="none", quantization="BF16", dtype="bfloat16", execution="eager",
            rope="default", devices=("here",), max_model_len=settings.longest, max_sequences=sequences,
            preallocates=True, weight_bytes=1000, activation_peak_bytes=500,
            kv_cache_bytes_per_token=10, kv_cache_block_tokens=16, kv_cache_spare_blocks=1,
        )  # fmt: skip

    def prepare(self, request: "Request") -> None:
        """Everything that is not to be timed."""
        self._outputs = [list(islice(cycle(prompt), request.generate_length)) for prompt in request.prompts]

    def generate(self, on_token: Callable[[int], None]) -> Sequence[Sequence[int]]:
        """Say of which sequence a token has come as it comes, then hand over all of them."""
        for _token in self._outputs[0]:
            time.sleep(0.01)
            for sequence in range(len(self._outputs)):
                on_token(sequence)
        return self._outputs
