"""What an engine must do: open a model, prepare a request, generate. It never times itself."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pydantic import Field

from speed_benchmark.cell import EngineSettings
from speed_benchmark.record.base import Frozen
from speed_benchmark.record.engine import Loaded, Sampling
from speed_benchmark.record.record import DeviceWindow

__all__ = [
    "Clock",
    "DeviceWindow",
    "Engine",
    "LoadRequest",
    "Loaded",
    "OutOfMemoryError",
    "Request",
    "Running",
    "Sampling",
    "Tracer",
    "UnsupportedError",
]


class LoadRequest(Frozen):
    """What to load.

    `max_total_tokens` is the longest prompt plus output that will be asked of this load, `max_sequences` the most
    sequences at once; `config_overrides` replaces keys of the model's config.json (YaRN).
    """

    checkpoint_dir: str
    settings: EngineSettings
    max_total_tokens: int
    max_sequences: int = 1
    trust_remote_code: bool = False
    allow_pickle: bool = False
    config_overrides: dict[str, Any] = Field(default_factory=dict)


class Request(Frozen):
    """One request: a batch of prompts of one length, as exact token ids.

    Exactly `generate_length` tokens come out of each, end-of-sequence ignored. `cache_tokens` is for how long a
    sequence an engine makes room that sizes its cache by the request: a part of a longer request has to run in the
    longer one's cache.
    """

    prompts: tuple[tuple[int, ...], ...]
    generate_length: int
    sampling: Sampling
    seed: int
    cache_tokens: int = 0

    @property
    def context_length(self) -> int:
        """Tokens of each prompt."""
        return len(self.prompts[0])

    @property
    def total_tokens(self) -> int:
        """How long a sequence to make room for: at least the prompt and the output."""
        return max(self.cache_tokens, self.context_length + self.generate_length)


class Clock(Protocol):
    """Where the time of a measurement comes from."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        ...

    def unix(self) -> float:
        """Seconds on the system's clock, to be held against the other."""
        ...

    def synchronize(self) -> None:
        """Return once the device has finished all that was asked of it."""
        ...


class Tracer(Protocol):
    """Notes what runs on the devices, for a pass of its own."""

    def start(self) -> None:
        """Begin, once the devices have finished all that was asked of them."""
        ...

    def stop(self, tokens: int) -> DeviceWindow:
        """The decoding steps since `start`, of which there are about as many as `tokens`.

        Raises ValueError where it can't tell them; what ran on other devices in other processes is not in them.
        """
        ...


class OutOfMemoryError(Exception):
    """The device or the engine's cache has too little memory for what was asked."""


class UnsupportedError(Exception):
    """The engine cannot run this model or setting on this machine; the text says why."""


class Running(Protocol):
    """A loaded model. The worker calls prepare and generate for each request.

    Both raise OutOfMemoryError or UnsupportedError where that is the cause, and let every other exception pass.
    `cached_tokens` is how many tokens of the last request's prompts came from a cache, None where the engine has no
    such cache. `tracer` can note what runs on the devices; None where there is no GPU.
    """

    loaded: Loaded
    clock: Clock
    cached_tokens: int | None
    tracer: Tracer | None

    def prepare(self, request: Request) -> None:
        """Make everything ready for `generate`, outside the timed call."""
        ...

    def generate(self, on_token: Callable[[int], None]) -> Sequence[Sequence[int]]:
        """Run the prepared request and return the output ids of each sequence.

        `on_token` is called with the index of the sequence as each token reaches the host.
        """
        ...


class Engine(Protocol):
    """An engine. `clock` is the one by which loading is timed.

    `open` raises what `Running` does; leaving it gives back the memory and ends every process that was started.
    """

    clock: Clock

    def open(self, load: LoadRequest) -> AbstractContextManager[Running]:
        """Load the model; inside the context it runs."""
        ...
