"""What an engine must do: load, prepare, generate, close. It never times itself."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from speed_benchmark.cell import EngineSettings


class Frozen(BaseModel):
    """A value: immutable, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Sampling(Frozen):
    """How the next token is chosen, the same on every engine.

    `temperature` 0 is greedy. `top_k` 0 and `top_p` 1 mean no cut; `repetition_penalty` 1 means none.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


class Load(Frozen):
    """What to load.

    `max_total_tokens` is the longest prompt plus output that will be asked of this load;
    `config_overrides` replaces keys of the model's config.json (YaRN).
    """

    checkpoint_dir: str
    settings: EngineSettings
    max_total_tokens: int
    trust_remote_code: bool = False
    config_overrides: dict[str, Any] = {}


class Request(Frozen):
    """One request: exact token ids in, exactly `generate_length` tokens out, end-of-sequence ignored."""

    prompt_token_ids: tuple[int, ...]
    generate_length: int
    sampling: Sampling
    seed: int


class Loaded(Frozen):
    """What really runs, read back from the loaded engine and never from the flags.

    `quantization` is BF16, FP16, FP32, GPTQ-Int4, GPTQ-Int8 or AWQ as the loaded layers show it;
    `quantization_kernels` are the classes that compute the linear layers. `execution` is eager, compiled,
    cuda_graphs or compiled+cuda_graphs. `rope` is default, or yarn with its factor.
    """

    attention_implementation: str
    quantization: str
    quantization_kernels: tuple[str, ...] = ()
    dtype: str
    execution: str
    weight_bytes: int
    rope: str
    devices: tuple[str, ...]
    prefix_caching: bool = False
    max_model_len: int | None = None
    kv_cache_dtype: str | None = None
    kv_cache_bytes_per_token: int | None = None
    kv_cache_capacity_tokens: int | None = None
    kv_cache_allocated_bytes: int | None = None
    activation_peak_bytes: int | None = None
    graph_bytes: int | None = None
    reasons: tuple[str, ...] = ()
    """Why something other than the usual choice runs (a kernel that could not be had, and why)."""


class Clock(Protocol):
    """Where the time of a measurement comes from."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        ...

    def synchronize(self) -> None:
        """Return once the device has finished all that was asked of it."""
        ...


class Memory(Frozen):
    """Memory by its names, each in bytes, None where it cannot be read.

    Peaks are since the last reset. `allocator_*` is PyTorch's CUDA allocator, summed over the GPUs used;
    `process_device_bytes` this process tree on those devices; `device_used_bytes` all that is taken there;
    `host_peak_rss_bytes` the peak resident memory of the worker's processes.
    """

    allocator_peak_allocated_bytes: int | None = None
    allocator_peak_reserved_bytes: int | None = None
    process_device_bytes: int | None = None
    device_used_bytes: int | None = None
    host_peak_rss_bytes: int | None = None


class OutOfMemoryError(Exception):
    """The device or the engine's cache has too little memory for what was asked."""


class UnsupportedError(Exception):
    """The engine cannot run this model or setting on this machine; the text says why."""


class Engine(Protocol):
    """An engine. The worker calls load once, then per cell prepare, then generate per request, then close.

    load, prepare and generate raise OutOfMemoryError or UnsupportedError where that is the cause, and let every
    other exception pass.
    """

    clock: Clock

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
