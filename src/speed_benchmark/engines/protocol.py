"""What an engine must do: load, prepare, generate, close. It never times itself."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from pydantic import Field

from speed_benchmark.cell import EngineSettings
from speed_benchmark.record.record import Frozen, Loaded, Sampling

__all__ = [
    "Clock",
    "Engine",
    "Load",
    "Loaded",
    "OutOfMemoryError",
    "Request",
    "Sampling",
    "UnsupportedError",
]


class Load(Frozen):
    """What to load.

    `max_total_tokens` is the longest prompt plus output that will be asked of this load;
    `config_overrides` replaces keys of the model's config.json (YaRN).
    """

    checkpoint_dir: str
    settings: EngineSettings
    max_total_tokens: int
    trust_remote_code: bool = False
    allow_pickle: bool = False
    config_overrides: dict[str, Any] = Field(default_factory=dict)


class Request(Frozen):
    """One request: exact token ids in, exactly `generate_length` tokens out, end-of-sequence ignored.

    `room_tokens` is for how long a sequence an engine makes room that sizes its cache by the request: a part of a
    longer request has to run in the longer one's cache.
    """

    prompt_token_ids: tuple[int, ...]
    generate_length: int
    sampling: Sampling
    seed: int
    room_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """How long a sequence to make room for: at least the prompt and the output."""
        return max(self.room_tokens, len(self.prompt_token_ids) + self.generate_length)


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


class OutOfMemoryError(Exception):
    """The device or the engine's cache has too little memory for what was asked."""


class UnsupportedError(Exception):
    """The engine cannot run this model or setting on this machine; the text says why."""


class Engine(Protocol):
    """An engine. The worker calls load once, then per request prepare and generate, then close.

    load, prepare and generate raise OutOfMemoryError or UnsupportedError where that is the cause, and let every
    other exception pass. `requires` names the modules that must be installed; the engine's own module imports
    them only in load. `cached_tokens` is how many tokens of the last prompt came from a cache, None where the
    engine has no such cache.
    """

    requires: ClassVar[tuple[str, ...]]
    clock: Clock
    cached_tokens: int | None

    def load(self, load: Load) -> Loaded:
        """Load the model and say what was loaded."""
        ...

    def prepare(self, request: Request) -> None:
        """Make everything ready for `generate`, outside the timed call."""
        ...

    def generate(self, on_token: Callable[[], None]) -> Sequence[int]:
        """Run the prepared request; call `on_token` as each token reaches the host; return the output ids."""
        ...

    def close(self) -> None:
        """Give back the memory and end every process that was started."""
        ...
