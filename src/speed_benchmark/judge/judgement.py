"""What is thought of a record: an opinion of this version's rules, computed when the record is read."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import Field

from speed_benchmark.record.base import Frozen
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Memory

FindingValue = bool | int | float | str


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
    """A reason to doubt a record. What it says, and what to do, are in the catalogue of texts, under its code."""

    code: str = Field(description="which rule")
    severity: Severity = Field(description="note, doubtful or invalid")
    values: dict[str, FindingValue] = Field(
        default={}, description="the figures that its text names, and in `variant` which of several texts it is"
    )

    @property
    def message_id(self) -> str:
        """The id of its text: the code, and with a dot between them the variant, if there is one."""
        variant = self.values.get("variant")
        return f"{self.code}.{variant}" if variant else self.code


class Interval(Frozen):
    """A 95 % confidence interval of a mean."""

    low: float = Field(description="lower end")
    high: float = Field(description="upper end")
    method: Literal["student_t", "student_t_sequential"] = Field(
        description="student_t_sequential where repeats went on until the interval was narrow enough"
    )
    over: Literal["repeats", "processes"] = Field(
        description="repeats: what this one process would show on and on; processes: what others would show too"
    )


class Quantity(Frozen):
    """One number over the repeats of a record."""

    mean: float = Field(description="mean of the repeats, of several processes the mean of their means")
    minimum: float = Field(description="lowest repeat")
    maximum: float = Field(description="highest repeat")
    stdev: float | None = Field(default=None, description="standard deviation of the repeats")
    interval: Interval | None = Field(
        default=None, description="none where none would be honest, which a finding explains"
    )


class MemoryNeed(Frozen):
    """What must fit into the device's memory for the cell to run: the same quantity whatever engine measured it.

    It leaves out the CUDA context and the libraries' own memory (0.3 to 1 GiB a GPU), and what an allocator holds
    beyond its tensors.
    """

    weight_bytes: int = Field(description="weights")
    kv_cache_bytes: int | None = Field(default=None, description="key-value cache of this cell's tokens")
    activation_bytes: int | None = Field(default=None, description="the peak beyond weights, cache and graphs")
    graph_bytes: int | None = Field(default=None, description="CUDA graphs")
    minimum_to_run_bytes: int | None = Field(
        default=None,
        description="what the engine's tensors take at the worst moment, over all GPUs: the allocator's peak, or for "
        "an engine that takes its memory in advance the sum of the parts; null on the CPU",
    )


class Roofline(Frozen):
    """How far the hardware could go, and how much of it was reached."""

    decode_limit_tokens_per_s: float | None = Field(
        default=None, description="most generated tokens/s that the measured peaks allow, all sequences"
    )
    mbu: float | None = Field(
        default=None,
        description="memory bandwidth utilization of decoding: bytes needed / time / measured bandwidth",
    )
    prefill_limit_tokens_per_s: float = Field(description="most prompt tokens/s that the measured peaks allow")
    mfu: float = Field(
        description="model FLOPs utilization of prefill: operations needed / time / measured operations/s"
    )
    highest_utilization: float = Field(description="the largest part of a limit that any repeat reached")
    device_busy_share: float | None = Field(
        default=None, description="share of the time of decoding in which a device ran a kernel"
    )
    bound_by: Literal["memory", "compute", "host_launch"] = Field(
        description="what the phase that takes longest waits for"
    )


class Summary(Frozen):
    """The statistics of a record's samples."""

    generation_tokens_per_s: Quantity = Field(
        description="generated tokens of all sequences / whole request time (the Qwen2.5 report's speed)"
    )
    total_tokens_per_s: Quantity = Field(
        description="prompt and generated tokens of all sequences / whole request time (the Qwen3 report's speed)"
    )
    decode_tokens_per_s: Quantity | None = Field(
        default=None,
        description="tokens after every sequence had its first / time from then to the last token; of one sequence "
        "(generated - 1) / (last token - first token)",
    )
    prefill_tokens_per_s: Quantity = Field(
        description="prompt tokens of all sequences / time until every sequence had its first token"
    )
    sequence_generation_tokens_per_s: Quantity = Field(
        description="generated tokens of one sequence / whole request time, mean of the sequences"
    )
    sequence_decode_tokens_per_s: Quantity | None = Field(
        default=None, description="(generated - 1) / (last token - first token) of one sequence, mean of the sequences"
    )
    time_to_first_token_s: Quantity = Field(description="to the first token of the first sequence")
    time_to_last_first_token_s: Quantity = Field(description="until every sequence had its first token")
    duration_s: Quantity = Field(description="whole request time")
    inter_token_latency_p50_s: float | None = Field(default=None, description="median gap between tokens of a sequence")
    inter_token_latency_p90_s: float | None = Field(default=None, description="90th percentile, from 64 gaps on")
    inter_token_latency_p99_s: float | None = Field(default=None, description="99th percentile, from 662 gaps on")
    memory: Memory = Field(description="the highest reading under each name")
    need: MemoryNeed | None = Field(default=None, description="memory that the cell needs")
    predicted: bool = Field(
        default=False, description="extrapolated from windows at the start and the end of the output (--quick)"
    )


class Judgement(Frozen):
    """What this version's rules think of a record."""

    verdict: Verdict = Field(description="what the findings add up to")
    findings: tuple[Finding, ...] = Field(default=(), description="reasons to doubt, by the rules' order")
    summary: Summary | None = Field(default=None, description="statistics")
    roofline: Roofline | None = Field(default=None, description="what the hardware allows")


@dataclass(frozen=True)
class Judged:
    """A record with what is thought of it."""

    record: Record
    judgement: Judgement

    @property
    def is_measured(self) -> bool:
        """Whether its speed may be shown: it ran to its end, and nothing says that the figure is not what was asked."""
        sound = self.record.outcome is Outcome.OK and self.judgement.verdict is not Verdict.INVALID
        return sound and self.judgement.summary is not None
