"""The record of one measured cell: evidence, which is hashed, written once and never rewritten."""

from typing import Annotated, Any, Literal

from annotated_types import MaxLen
from pydantic import Field

from speed_benchmark.cell import Cell
from speed_benchmark.record.base import (
    Bytes,
    Count,
    Digest,
    Elapsed,
    Frozen,
    Moment,
    Positive,
    Reading,
    Seconds,
    Share,
    Text,
)
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.engine import Loaded, Sampling
from speed_benchmark.record.machine import Colocation, DevicePeaks, Machine, MachineState, Pace
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.sample import Audit, Memory, Sample

SCHEMA_VERSION = 2
# Raise it when what is measured changes, so that older records no longer answer for a cell.
MEASUREMENT_VERSION = 2

# Of a kernel, and of the kernels of a window.
NAME_CHARACTERS, NAMED_KERNELS = 200, 200


class Checkpoint(Frozen):
    """The weights that were measured: where they are from, and which they are."""

    source: Text = Field(description="huggingface, modelscope, local or synthetic")
    commit: Text | None = Field(default=None, description="commit on the hub")
    quantization: Text | None = Field(default=None, description="weight format that the checkpoint promises")
    weight_file_bytes: Bytes | None = Field(default=None, description="size of the weight files")
    weights_digest: Digest | None = Field(default=None, description="hash of names and contents of the weight files")
    max_positions: Count | None = Field(
        default=None, description="prompt and output tokens that the model takes by its config, YaRN included"
    )


class Agreement(Frozen):
    """Another engine's greedy answer to the same prompt by the same weights.

    Two engines round differently, so that a later token may differ; the first one of a real model hardly does.
    """

    engine: Text = Field(description="the other engine")
    record_id: Text = Field(description="the other engine's record")
    compared: Count = Field(description="how many of the first tokens were compared")
    agreed: Count = Field(description="how many of these are alike before one differs")


class Provenance(Frozen):
    """Which software made the record."""

    tool_version: Text = Field(description="version of this tool")
    measurement_version: Count = Field(
        default=MEASUREMENT_VERSION, description="raised whenever what the tool measures changes"
    )
    git_commit: Text | None = Field(default=None, description="commit of this tool's checkout, + where files differ")
    command: tuple[Text, ...] = Field(default=(), description="command line")
    python: Text = Field(default="", description="version of Python")
    packages: dict[Text, Text] = Field(
        default={}, description="versions of what speed depends on, as the worker had them"
    )
    environment: dict[Text, Text] = Field(
        default={}, description="variables that steer libraries; no secrets, no paths"
    )


class Kernel(Frozen):
    """All runs of one kernel or copy in the steps of a window, by the name that the profiler gives it."""

    name: Annotated[Text, MaxLen(NAME_CHARACTERS)] = Field(
        description="name, its first 200 characters; others: all that are rarer"
    )
    count_per_token: Reading = Field(description="runs a step, mean of the steps")
    s_per_token: Elapsed = Field(description="seconds a step, mean of the steps")


class DeviceWindow(Frozen):
    """What ran on the device in some decoding steps in a row, by the profiler: times of a step are medians.

    The rest of a step, up to `pass_s`, the device waited for the host to launch, which takes longer under the profiler.
    """

    first_token: Count = Field(default=0, description="position in the output of the first traced token")
    tokens: Positive = Field(description="whole steps seen")
    device_s: Elapsed = Field(description="time of a step in which anything ran on the device")
    pass_s: Elapsed = Field(description="time of a step under the profiler")
    graph_gap_s: Elapsed = Field(
        description="idle time of a step that is the device's own: within a graph, or before a kernel whose launch had "
        "begun before the device ran out of work"
    )
    kernels: Annotated[tuple[Kernel, ...], MaxLen(NAMED_KERNELS + 1)] = Field(
        default=(), description="what ran, longest first"
    )


class Profile(Frozen):
    """The passes under the profiler, or why there is none."""

    device_busy_share: Share | None = Field(
        default=None, description="share of the time under the profiler in which a kernel ran (records before windows)"
    )
    tokens: Count = Field(default=0, description="tokens that this share is over")
    start: DeviceWindow | None = Field(default=None, description="at the start of the output")
    end: DeviceWindow | None = Field(default=None, description="at its end, where that is not the same")
    error: Text | None = Field(default=None, description="why it failed")


class Record(Frozen):
    """Everything that was seen of one cell.

    `record_id` is the hash of all the rest. A judgement (summary, findings, verdict) is computed on reading; the one of
    the day may stand in the file, and nothing depends on it.
    """

    schema_version: Literal[2] = Field(default=2, description="number of this schema; older ones are migrated")
    record_id: Text = Field(default="", description="sha256: and the hash of the canonical JSON of all other fields")
    cell_id: Digest = Field(description="sha256: and the hash of what was asked")
    cell: Cell = Field(description="what was asked")
    created_at: Moment = Field(description="when the record was made, ISO 8601, UTC")
    outcome: Outcome = Field(description="how it ended")
    cause: Cause | None = Field(default=None, description="why it is not ok")
    prompt: Text | None = Field(default=None, description="how the prompts were made: repeated, chat, text or random")
    sampling: Sampling | None = Field(default=None, description="how tokens were chosen")
    config_overrides: dict[str, Any] = Field(default={}, description="keys of config.json that were replaced (YaRN)")
    checkpoint: Checkpoint | None = Field(default=None, description="the weights")
    loaded: Loaded | None = Field(default=None, description="what really ran")
    load_s: Seconds | None = Field(default=None, description="seconds to load the model")
    load_memory: Memory | None = Field(default=None, description="memory once the model was loaded")
    warmups: tuple[Sample, ...] = Field(default=(), description="unmeasured requests")
    samples: tuple[Sample, ...] = Field(default=(), description="measured requests")
    audit: Audit | None = Field(default=None, description="repeated prompts against new ones")
    agreement: Agreement | None = Field(default=None, description="another engine's answer")
    busy: tuple[Text, ...] = Field(default=(), description="what others did on the GPUs before the load, if allowed")
    token_cost: TokenCost | None = Field(default=None, description="what a token costs at least")
    device_peaks: DevicePeaks | None = Field(default=None, description="what the device was measured to do at best")
    profile: Profile | None = Field(default=None, description="what the device did for a token")
    gpus: tuple[Count, ...] = Field(default=(), description="indices of the GPUs used, by PCI bus; none: the CPU")
    colocation: Colocation | None = Field(default=None, description="other workers of the same sweep beside it")
    machine: Machine = Field(description="the hardware")
    machine_before: MachineState = Field(description="just before the worker started")
    machine_after: MachineState = Field(description="after the last request")
    host_paces: tuple[Pace, ...] = Field(
        default=(), description="the host's pace before the first warm-up and after each repeat"
    )
    provenance: Provenance = Field(description="the software")
    earlier_id: Digest | None = Field(default=None, description="record_id under the schema it was migrated from")
