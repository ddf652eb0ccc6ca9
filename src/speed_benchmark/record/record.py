"""What a measurement showed: samples, the record around them, and the reasons to doubt it."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from speed_benchmark.cell import Cell, digest

SCHEMA_VERSION = 1
FIRST_TOKENS = 16


class Frozen(BaseModel):
    """A value: immutable, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Outcome(StrEnum):
    """How a cell ended."""

    OK = "ok"
    INVALID = "invalid"
    OOM = "oom"
    TOO_LONG = "too_long"
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    REFUSED = "refused"


class Severity(StrEnum):
    """How much a finding takes away from a record."""

    NOTE = "note"
    DOUBTFUL = "doubtful"
    INVALID = "invalid"


class Verdict(StrEnum):
    """What the findings of a record add up to."""

    VALID = "valid"
    DOUBTFUL = "doubtful"
    INVALID = "invalid"


class Finding(Frozen):
    """A reason to doubt a record, and what to do about it."""

    code: str
    severity: Severity
    text: str
    cure: str


class Sampling(Frozen):
    """How the next token is chosen, the same on every engine.

    `temperature` 0 is greedy. `top_k` 0 and `top_p` 1 mean no cut; `repetition_penalty` 1 means none.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


class Loaded(Frozen):
    """What really runs, read back from the loaded engine and never from the flags.

    `quantization` is BF16, FP16, FP32, GPTQ-Int4, GPTQ-Int8 or AWQ as the loaded layers show it;
    `quantization_kernels` are the classes that compute the linear layers. `execution` is eager, compiled,
    cuda_graphs or compiled+cuda_graphs. `rope` is default, or yarn with its factor. `reasons` says why
    something other than the usual choice runs (a kernel that could not be had, and why). `finite_logits` says
    whether the logits of a short prompt were all finite, None where the engine did not look.
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
    kv_cache_block_tokens: int | None = None
    kv_cache_capacity_tokens: int | None = None
    kv_cache_allocated_bytes: int | None = None
    activation_peak_bytes: int | None = None
    graph_bytes: int | None = None
    reasons: tuple[str, ...] = ()
    finite_logits: bool | None = None


class Memory(Frozen):
    """Memory by its names, each in bytes, None where it cannot be read.

    `allocator_peak_*` are peaks of PyTorch's CUDA allocator in the worker since the last reset, summed over its
    GPUs, `allocator_reserved_bytes` is what it held at the end. `process_device_bytes` (the worker's process tree)
    and `device_used_bytes` (everybody) are read on the GPUs used when the request has ended, before anything is
    given back. `host_peak_rss_bytes` is the worker's peak resident memory since the last reset.
    """

    allocator_peak_allocated_bytes: int | None = None
    allocator_peak_reserved_bytes: int | None = None
    allocator_reserved_bytes: int | None = None
    process_device_bytes: int | None = None
    device_used_bytes: int | None = None
    host_peak_rss_bytes: int | None = None


class MemoryNeed(Frozen):
    """What must fit into the device's memory for the cell to run: the same quantity whatever engine measured it.

    `minimum_to_run_bytes` is what the engine's tensors take at the worst moment, over all GPUs; it leaves out the
    CUDA context and the libraries' own memory (0.3 to 1 GiB a GPU), and what an allocator holds beyond its tensors.
    For an engine that takes memory as it needs it, it is the allocator's peak while loading and in any request;
    `activation_bytes` is then what that peak has beyond weights and cache. vLLM takes what it is given, so there it
    is the sum of the parts: weights, activations of its own trial run, CUDA graphs, and the key-value cache of this
    cell's tokens instead of all that it could hold. None on the CPU, where no limit applies but the machine's.
    """

    weight_bytes: int
    kv_cache_bytes: int | None = None
    activation_bytes: int | None = None
    graph_bytes: int | None = None
    minimum_to_run_bytes: int | None = None


class Range(Frozen):
    """What readings of one quantity showed in a window of time; `mean` is over time."""

    minimum: float
    mean: float
    maximum: float


class GpuReadings(Frozen):
    """One GPU over a window; None where the driver can't say.

    `throttle_reasons` are all that the driver gave for a lowered clock, an idle GPU aside. `foreign_processes` are
    those seen on the GPU that don't belong to this tool, as `pid name`.
    """

    index: int
    sm_clock_mhz: Range | None = None
    memory_clock_mhz: Range | None = None
    temperature_c: Range | None = None
    power_w: Range | None = None
    utilization_percent: Range | None = None
    memory_used_bytes: Range | None = None
    throttle_reasons: tuple[str, ...] = ()
    foreign_processes: tuple[str, ...] = ()


class Energy(Frozen):
    """What all GPUs used took from first to last; of one phase None where that is too short to tell.

    `source` is their energy counters, or the integral of their power readings where one has no counter.
    `too_coarse` says that the window holds so few readings that the figure may be off by more than a tenth.
    """

    source: Literal["counter", "power"]
    total_joules: float
    prefill_joules: float | None = None
    decode_joules: float | None = None
    per_generated_token_joules: float | None = None
    too_coarse: bool = False


class Readings(Frozen):
    """What a sampler beside the worker saw of the machine from the start of a request to its end.

    `count` is how many readings lie in that window; where none does, the nearest one stands for all. The series
    itself is not stored: ten readings a second would be most of a record. `other_cores` is how many processor cores
    everything but this tool kept busy, `other_memory_bytes` what everything but this tool has of the host's memory.
    """

    count: int
    other_cores: Range | None = None
    other_memory_bytes: Range | None = None
    cpu_frequency_mhz: Range | None = None
    gpus: tuple[GpuReadings, ...] = ()
    energy: Energy | None = None


class Sample(Frozen):
    """What one request showed. Times are seconds since the request began; the prompt is in before that.

    `started_at_s` is on the clock of the measurement, `started_at_unix_s` and `ended_at_unix_s` on the system's.
    `first_token_ids` are the first output ids, FIRST_TOKENS at most, by which two engines are held against each other.
    `process` counts the worker processes of the cell from 0. `window` says which part of the output a request of
    a quick measurement stands for.
    """

    started_at_unix_s: float
    ended_at_unix_s: float | None = None
    started_at_s: float | None = None
    duration_s: float
    token_times_s: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int
    output_digest: str
    first_token_ids: tuple[int, ...] = ()
    cached_tokens: int | None = None
    memory: Memory = Memory()
    process: int = 0
    window: Literal["start", "end"] | None = None
    readings: Readings | None = None


class Audit(Frozen):
    """Times to the first token of prompts of one length, in turn the measured prompt and one never sent before."""

    repeated_s: tuple[float, ...]
    distinct_s: tuple[float, ...]


class Agreement(Frozen):
    """Another engine's greedy answer to the same prompt by the same weights, in the record of that id.

    `agreed` is how many of the first `compared` tokens are alike before one differs. Two engines round differently, so
    that a later token may differ; the first one of a real model hardly does.
    """

    engine: str
    record_id: str
    compared: int
    agreed: int


class Cause(Frozen):
    """Why a cell is not ok: what was said, how the worker ended, and its last lines.

    `kind` where nothing went wrong in a worker: it was predicted not to fit and not run, not run after a shorter one
    of its load had run out of memory, or interrupted by the user.
    """

    message: str
    kind: Literal["predicted", "after_shorter", "interrupted"] | None = None
    stage: str | None = None
    exit_status: int | None = None
    signal: str | None = None
    last_lines: tuple[str, ...] = ()


class Share(Frozen):
    """Of a worker that ran beside others: how many these were at most, and the processor cores it was bound to."""

    workers_beside: int
    cores: int


class Checkpoint(Frozen):
    """The weights that were measured: where they are from, and which they are.

    `source` is huggingface, modelscope, local or synthetic; `weights_digest` covers names and contents of
    the weight files.
    """

    source: str
    commit: str | None = None
    quantization: str | None = None
    weight_file_bytes: int | None = None
    weights_digest: str | None = None


class Gpu(Frozen):
    """One GPU as the driver names it."""

    index: int
    name: str
    memory_bytes: int
    power_limit_w: float | None = None


class Machine(Frozen):
    """The hardware and the driver: what two records must share to be compared.

    `usable_cores` are those of its `cores` that this tool may run on.
    """

    processor: str
    cores: int
    usable_cores: int | None = None
    memory_bytes: int
    system: str
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None


class GpuState(Frozen):
    """One GPU at one moment."""

    index: int
    memory_used_bytes: int | None = None
    utilization_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    processes: tuple[int, ...] = ()


class MachineState(Frozen):
    """The machine at one moment: before the load, after the last request."""

    unix_s: float
    load_1min: float
    memory_available_bytes: int
    gpus: tuple[GpuState, ...] = ()


class Provenance(Frozen):
    """Which software made the record; `environment` has the variables that steer libraries, no secrets, no paths."""

    tool_version: str
    git_commit: str | None = None
    command: tuple[str, ...] = ()
    python: str = ""
    packages: dict[str, str] = {}
    environment: dict[str, str] = {}


class Work(Frozen):
    """What one token costs at least, from the model's config and weight format.

    A decoding step at position n reads `weight_bytes` and n times `kv_cache_bytes_per_token`, and computes `flops`
    and n times `attention_flops_per_token`. Prefill computes `prefill_flops` for each token of the prompt, the output
    layer for its last one alone, and attention of each token to those before it. `devices_at_once` is over how many
    devices a step is split; where they take turns it is 1.
    """

    weight_bytes: int
    kv_cache_bytes_per_token: int
    flops: int
    attention_flops_per_token: int
    prefill_flops: int
    devices_at_once: int = 1


class Rates(Frozen):
    """What one device was measured to do at best, by PyTorch on it, alone.

    `bandwidths` are pairs of a working set in bytes and the bytes/s at which it was read or copied over and over: a
    small one stays in a cache. `flops_per_s` is of large matrix products, in the best of the types that models have.
    `other_cores` is how many processor cores other programs kept busy meanwhile: beside others, a processor's rates
    are less than it can do.
    """

    device: str
    bandwidths: tuple[tuple[int, float], ...]
    flops_per_s: float
    matrix_dtype: str
    torch: str
    other_cores: float = 0.0


class Roofline(Frozen):
    """How far the hardware could go, and how much of it was reached.

    `decode_limit_tokens_per_s` and `prefill_limit_tokens_per_s` are what the measured rates allow at most;
    `decode_bandwidth_share` is needed bytes / time / bandwidth, `prefill_matrix_share` needed operations / time /
    matrix rate. `fastest_share` is the largest part of a limit that any repeat reached, prefill or decode.
    `device_busy_share` is the share of decoding in which a device ran a kernel, from a pass under the profiler.
    `binds` is what the phase that takes longest waits for: the host where a device has nothing to do for a fifth of
    the time or, where that was not measured, where neither half of the bandwidth nor half of the matrix rate is used.
    """

    decode_limit_tokens_per_s: float | None = None
    decode_bandwidth_share: float | None = None
    prefill_limit_tokens_per_s: float
    prefill_matrix_share: float
    fastest_share: float
    device_busy_share: float | None = None
    binds: Literal["memory", "arithmetic", "host"]


class Profile(Frozen):
    """The pass under the profiler: the share of the time in which a device was busy, or why there is none."""

    device_busy_share: float | None = None
    tokens: int = 0
    error: str | None = None


class Interval(Frozen):
    """A 95 % confidence interval of a mean, and what it is over.

    `over` repeats: what this one process would show on and on. `over` processes: what other processes of the same
    kind would show too. `method` is student_t, or student_t_sequential where the repeats went on until the interval
    was narrow enough.
    """

    low: float
    high: float
    method: Literal["student_t", "student_t_sequential"]
    over: Literal["repeats", "processes"]


class Quantity(Frozen):
    """One number over the repeats of a record; no `interval` where none would be honest (a finding says why)."""

    mean: float
    minimum: float
    maximum: float
    stdev: float | None = None
    interval: Interval | None = None


class Summary(Frozen):
    """The statistics of a record; every one is recomputed from its samples by `statistics.summarize`.

    `generation_tokens_per_s` is generated / whole request time, what the Qwen2.5 report prints;
    `total_tokens_per_s` is (prompt + generated) / whole request time, what the Qwen3 report prints;
    `decode_tokens_per_s` is (generated - 1) / (last token - first token). Latency percentiles are over all
    gaps between tokens of all repeats, None where they are too few. `predicted` says that all of it comes from
    windows at the start and at the end of the output and the line between them.
    """

    generation_tokens_per_s: Quantity
    total_tokens_per_s: Quantity
    decode_tokens_per_s: Quantity | None = None
    prefill_tokens_per_s: Quantity
    time_to_first_token_s: Quantity
    duration_s: Quantity
    inter_token_latency_p50_s: float | None = None
    inter_token_latency_p90_s: float | None = None
    inter_token_latency_p99_s: float | None = None
    memory: Memory
    need: MemoryNeed | None = None
    predicted: bool = False


class Record(Frozen):
    """Everything about one measured cell. `record_id` is the hash of all the rest.

    `busy` says what others did on the GPUs before the load, where that was allowed. `roofline` follows from `work`,
    `rates`, `profile` and the samples.
    """

    schema_version: Literal[1] = 1
    record_id: str = ""
    cell_id: str
    cell: Cell
    created_at: str
    outcome: Outcome
    verdict: Verdict = Verdict.INVALID
    findings: tuple[Finding, ...] = ()
    cause: Cause | None = None
    summary: Summary | None = None
    prompt: str | None = None
    sampling: Sampling | None = None
    config_overrides: dict[str, Any] = {}
    checkpoint: Checkpoint | None = None
    loaded: Loaded | None = None
    load_s: float | None = None
    load_memory: Memory | None = None
    warmups: tuple[Sample, ...] = ()
    samples: tuple[Sample, ...] = ()
    audit: Audit | None = None
    agreement: Agreement | None = None
    busy: tuple[str, ...] = ()
    work: Work | None = None
    rates: Rates | None = None
    profile: Profile | None = None
    roofline: Roofline | None = None
    gpus: tuple[int, ...] = ()
    share: Share | None = None
    machine: Machine
    machine_before: MachineState
    machine_after: MachineState
    provenance: Provenance

    def derived_id(self) -> str:
        """The `record_id` that this record's content asks for."""
        return digest(self.model_dump(mode="json", exclude={"record_id"}))
