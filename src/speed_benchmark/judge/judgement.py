"""What is thought of a record: an opinion of this version's rules, computed when the record is read."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from pydantic import Field

from speed_benchmark.record.base import Frozen
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Memory

FindingValue = bool | int | float | str
# What a record is read for; each has a verdict of its own, and that of the speed is the record's.
QuantityName = Literal["speed", "time_to_first_token", "percentiles", "memory", "energy"]
QUANTITIES: tuple[QuantityName, ...] = get_args(QuantityName)


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
    quantities: tuple[QuantityName, ...] = Field(
        default=(), description="which quantities it speaks of; none are named where it speaks of all"
    )

    @property
    def doubts_speed(self) -> bool:
        """Whether it takes something away from the speed, and so from the record's verdict."""
        return self.severity is not Severity.NOTE and self.speaks_of("speed")

    def speaks_of(self, quantity: QuantityName) -> bool:
        """Whether it is about this quantity; what makes a record invalid is about all."""
        return not self.quantities or quantity in self.quantities or self.severity is Severity.INVALID

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
    independence: Literal["tested", "assumed"] = Field(
        description="tested: the values are enough to show a trend or an autocorrelation, as 6 and more are"
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
    """What must fit into the device's memory for the cell to run: the same quantities whatever engine measured it.

    It leaves out the CUDA context and the libraries' own memory (0.3 to 1 GiB a GPU), and what an allocator holds
    beyond its tensors.
    """

    weight_bytes: int = Field(description="weights")
    kv_cache_bytes: int | None = Field(default=None, description="key-value cache of this cell's tokens")
    activation_bytes: int | None = Field(default=None, description="the peak beyond weights, cache and graphs")
    graph_bytes: int | None = Field(default=None, description="CUDA graphs")
    as_started_bytes: int | None = Field(
        default=None,
        description="what the engine's tensors take at the worst moment as it was started here, over all GPUs: the "
        "allocator's peak, or for an engine that takes its memory in advance the sum of the parts; null on the CPU",
    )
    minimum_to_run_bytes: int | None = Field(
        default=None,
        description="the least for this cell: the same, but of an engine that takes its memory in advance with the "
        "activations of its trial run scaled down to the tokens that a step of this cell has (an estimate); null on "
        "the CPU, and where the size of the trial run is not known",
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
    bound_by: Literal["memory", "compute", "device", "host_launch"] = Field(
        description="what takes most of the phase that takes longest: its bytes, its operations, the device beyond "
        "these (other kernels, its own gaps), or waiting for the host"
    )


StepPart = Literal["weights", "cache", "matrix", "attention", "sampling", "normalisation", "other", "gap", "host"]


class WindowSplit(Frozen):
    """What some decoding steps in a row are made of, by the median step."""

    first_token: int = Field(description="position in the output of their first token")
    step_s: float = Field(description="time of a step without the profiler: median gap at these positions")
    device_s: float = Field(description="time of a step in which anything ran on the device")
    parts_s: dict[StepPart, float] = Field(
        description="seconds by what they are spent on. weights, cache: reading these at the measured bandwidth; "
        "matrix, attention: what their kernels take beyond that; sampling, normalisation, other: other kernels; "
        "gap: idle time that is the device's own; host: the rest"
    )


class StepSplit(Frozen):
    """What a decoding step is made of, over the output: the mean of a window at its start and one at its end."""

    windows: tuple[WindowSplit, ...] = Field(description="the start of the output, and its end where it was traced")
    device_s_per_token: float = Field(
        description="time in which anything ran on the device, of a token of each sequence"
    )
    device_tokens_per_s: float = Field(
        description="decoded tokens/s of all sequences if the device never waited for the host: sequences / (time that "
        "anything ran + its own gaps)"
    )
    host_share: float = Field(description="share of a step in which the device waits for the host")
    shares: dict[StepPart, float] = Field(description="shares of a step by what they are spent on")


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
    prefill_tokens_per_s: Quantity | None = Field(
        default=None,
        description="prompt tokens of all sequences / time until every sequence had its first token, for prompts of 64 "
        "tokens and more",
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
    inter_token_latency_p50_s: Quantity | None = Field(
        default=None, description="median gap between tokens of a sequence, of each repeat by itself"
    )
    inter_token_latency_p90_s: Quantity | None = Field(
        default=None, description="90th percentile of each repeat, from 64 gaps in each on"
    )
    inter_token_latency_p99_s: Quantity | None = Field(
        default=None, description="99th percentile of each repeat, from 662 gaps in each on"
    )
    memory: Memory = Field(description="the highest reading under each name")
    need: MemoryNeed | None = Field(default=None, description="memory that the cell needs")
    predicted: bool = Field(
        default=False, description="extrapolated from windows at the start and the end of the output (--quick)"
    )


class Paces(Frozen):
    """The two paces at which the host decoded in turn within one request."""

    fast_s: float = Field(description="time of a token at the fast pace")
    slow_s: float = Field(description="time of a token at the slow pace")
    slow_share: float = Field(description="share of the time of decoding, over all repeats, at the slow pace")
    dwell_s: float = Field(description="how long the slow pace lasted, mean of its spells")


class DepthSpeed(Frozen):
    """The speed of decoding at one depth, by the line."""

    context_tokens: int = Field(description="tokens before the one that is decoded")
    decode_tokens_per_s: float = Field(description="decoded tokens/s of all sequences")
    low: float = Field(description="by the upper end of the slope's interval")
    high: float = Field(description="by the lower end")


class Depth(Frozen):
    """How decoding slows with the tokens before it: a line through the times between tokens by their position."""

    slope_s_per_token: float = Field(
        description="what a further token of context adds to the time between tokens, by the medians of blocks of 64 "
        "positions over all repeats (Theil-Sen)"
    )
    slope_low_s_per_token: float = Field(description="lower end of its 95 % interval")
    slope_high_s_per_token: float = Field(description="upper end of its 95 % interval")
    roof_slope_s_per_token: float = Field(
        description="the same if the key-value cache were read at the measured bandwidth"
    )
    speeds: tuple[DepthSpeed, ...] = Field(
        default=(), description="at 8k, 32k and 128k tokens of context, as far as the model reaches and the line tells"
    )


class Judgement(Frozen):
    """What this version's rules think of a record."""

    verdict: Verdict = Field(description="what the findings add up to: that of the speed")
    verdicts: dict[QuantityName, Verdict] = Field(default={}, description="of each quantity that the record has")
    findings: tuple[Finding, ...] = Field(default=(), description="reasons to doubt, by the rules' order")
    summary: Summary | None = Field(default=None, description="statistics")
    roofline: Roofline | None = Field(default=None, description="what the hardware allows")
    depth: Depth | None = Field(
        default=None, description="decoding by depth; null where the host sets the pace, or the output is short"
    )
    quiet_tokens_per_s: float | None = Field(
        default=None,
        description="decode speed of all sequences at the quiet pace: 10th percentile of the medians of blocks of 16 "
        "tokens, mean of the repeats",
    )
    step: StepSplit | None = Field(default=None, description="what a decoding step is made of")
    paces: Paces | None = Field(default=None, description="the two paces of decoding; null where there was one")


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
