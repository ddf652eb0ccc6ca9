"""What one request showed: the times of its tokens, its memory, and the machine meanwhile."""

from typing import Literal

from pydantic import Field

from speed_benchmark.record.base import Bytes, Count, Digest, Elapsed, Frozen, Reading, Seconds, Text, UnixSeconds

FIRST_TOKENS = 16
# What times are rounded to: a shorter one is none.
RESOLUTION_S = 1e-9
# What the time of a token takes in a file where a request takes no longer than a day: `86400.123456789,`.
TOKEN_TIME_BYTES = 16


class Memory(Frozen):
    """Memory by its names, each in bytes, null where it cannot be read."""

    allocator_peak_allocated_bytes: Bytes | None = Field(
        default=None,
        description="peak handed out by PyTorch's CUDA allocator in the worker since the last reset, all its GPUs",
    )
    allocator_peak_reserved_bytes: Bytes | None = Field(
        default=None, description="peak held by PyTorch's CUDA allocator in the worker since the last reset"
    )
    allocator_reserved_bytes: Bytes | None = Field(default=None, description="held by the allocator at the end")
    process_device_bytes: Bytes | None = Field(
        default=None, description="taken on the GPUs by the worker's process tree when the request has ended"
    )
    device_used_bytes: Bytes | None = Field(
        default=None, description="taken on the GPUs by everybody when the request has ended"
    )
    host_peak_rss_bytes: Bytes | None = Field(
        default=None, description="peak resident memory since the last reset, of the largest of the worker's processes"
    )


class Range(Frozen):
    """What readings of one quantity showed in a window of time."""

    minimum: Reading = Field(description="the lowest reading")
    mean: Reading = Field(description="mean over time")
    maximum: Reading = Field(description="the highest reading")


class GpuReadings(Frozen):
    """One GPU over a window; null where the driver can't say."""

    index: Count = Field(description="index of the GPU by PCI bus")
    sm_clock_mhz: Range | None = Field(default=None, description="clock of the multiprocessors")
    memory_clock_mhz: Range | None = Field(default=None, description="clock of the memory")
    temperature_c: Range | None = Field(default=None, description="temperature of the GPU")
    power_w: Range | None = Field(default=None, description="power draw")
    utilization_percent: Range | None = Field(default=None, description="time in which a kernel ran, by the driver")
    memory_used_bytes: Range | None = Field(default=None, description="memory taken by everybody")
    throttle_reasons: tuple[Text, ...] = Field(
        default=(), description="all reasons that the driver gave for a lowered clock, an idle GPU aside"
    )
    foreign_processes: tuple[Text, ...] = Field(
        default=(), description="processes on the GPU that don't belong to this tool, as `pid name`"
    )


class Energy(Frozen):
    """What all GPUs used took from first to last; of one phase null where that is too short to tell."""

    source: Literal["counter", "power"] = Field(
        description="the GPUs' energy counters, or the integral of their power where one has no counter"
    )
    total_joules: Reading = Field(description="the whole request")
    prefill_joules: Reading | None = Field(default=None, description="up to the first token")
    decode_joules: Reading | None = Field(default=None, description="after the first token")
    per_generated_token_joules: Reading | None = Field(default=None, description="the whole request over its tokens")
    too_coarse: bool = Field(
        default=False, description="so few readings that the figure may be off by more than a tenth"
    )


class Readings(Frozen):
    """What a sampler beside the worker saw of the machine from the start of a request to its end.

    The series itself is not stored: ten readings a second would be most of a record.
    """

    count: Count = Field(description="readings in the window; where none lies in it, the nearest one stands for all")
    other_cores: Range | None = Field(
        default=None, description="processor cores that everything but this tool kept busy"
    )
    other_memory_bytes: Range | None = Field(
        default=None, description="host memory that everything but this tool has taken"
    )
    cpu_frequency_mhz: Range | None = Field(default=None, description="clock of the processor")
    gpus: tuple[GpuReadings, ...] = Field(default=(), description="each GPU used")
    energy: Energy | None = Field(default=None, description="energy of all GPUs used")


class Sequence(Frozen):
    """One sequence of a batch: a prompt and what was generated from it."""

    token_times_s: tuple[Seconds, ...] = Field(description="seconds from the start of the request to each token")
    prompt_tokens: Count = Field(description="tokens that went in, counted from ids")
    output_tokens: Count = Field(description="tokens that came out, counted from ids")
    output_digest: Digest = Field(description="hash of the output ids")
    first_token_ids: tuple[Count, ...] = Field(
        default=(), description="the first output ids, 16 at most, by which two engines are held against each other"
    )


class Sample(Frozen):
    """What one request showed: a batch of sequences that start together, batch size 1 being one of them."""

    started_at_unix_s: UnixSeconds = Field(description="start on the system's clock")
    ended_at_unix_s: UnixSeconds | None = Field(default=None, description="end on the system's clock")
    started_at_s: Seconds | None = Field(default=None, description="start on the measurement's clock")
    duration_s: Seconds = Field(description="from the call, device idle, until the device has finished")
    sequences: tuple[Sequence, ...] = Field(description="the sequences of the batch, in the order of their prompts")
    cached_tokens: Count | None = Field(
        default=None, description="prompt tokens that came from a cache; null: the engine has none"
    )
    memory: Memory = Field(default=Memory(), description="memory of the request")
    process: Count = Field(default=0, description="worker process of the cell, from 0")
    window: Literal["start", "end"] | None = Field(
        default=None, description="part of the output that a request of a quick measurement stands for"
    )
    readings: Readings | None = Field(default=None, description="the machine meanwhile")

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of all sequences."""
        return sum(sequence.prompt_tokens for sequence in self.sequences)

    @property
    def output_tokens(self) -> int:
        """Generated tokens of all sequences."""
        return sum(sequence.output_tokens for sequence in self.sequences)

    @property
    def is_timed(self) -> bool:
        """Whether it took time, and every sequence of it has a first token after its start."""
        starts = [sequence.token_times_s[:1] for sequence in self.sequences]
        least = RESOLUTION_S
        return self.duration_s >= least and bool(starts) and all(start and start[0] >= least for start in starts)

    @property
    def first_token_s(self) -> float:
        """Seconds to the first token of the first sequence that has one; the sample must be timed."""
        return min(sequence.token_times_s[0] for sequence in self.sequences)

    @property
    def all_started_s(self) -> float:
        """Seconds until every sequence has its first token; the sample must be timed."""
        return max(sequence.token_times_s[0] for sequence in self.sequences)

    @property
    def last_token_s(self) -> float:
        """Seconds to the last token of all; the sample must be timed."""
        return max(sequence.token_times_s[-1] for sequence in self.sequences)


class Audit(Frozen):
    """Times to the first token of prompts of one length, in turn the measured prompt and one never sent before."""

    repeated_s: tuple[Elapsed, ...] = Field(min_length=1, description="the measured prompt again")
    distinct_s: tuple[Elapsed, ...] = Field(min_length=1, description="prompts never sent before")
