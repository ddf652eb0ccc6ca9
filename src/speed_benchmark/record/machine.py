"""Where it ran: the hardware, its state, and what it was measured to do at best."""

from collections.abc import Sequence
from statistics import median

from pydantic import Field

from speed_benchmark.record.base import (
    Bytes,
    Count,
    Frozen,
    PerSecond,
    Positive,
    Reading,
    Taken,
    Text,
    UnixSeconds,
    Whole,
)


class Gpu(Frozen):
    """One GPU as the driver names it."""

    index: Count = Field(description="index by PCI bus")
    name: Text = Field(description="name of the model")
    memory_bytes: Bytes = Field(description="memory of the card")
    power_limit_w: Reading | None = Field(default=None, description="enforced power limit")
    card_id: Text | None = Field(default=None, description="salted hash of the card's UUID")


class Machine(Frozen):
    """The hardware and the driver: what two records must share to be compared."""

    processor: Text = Field(description="model of the processor")
    cores: Count = Field(description="logical cores")
    usable_cores: Count | None = Field(default=None, description="cores that this tool may run on")
    memory_bytes: Bytes = Field(description="memory of the host")
    system: Text = Field(description="operating system and kernel")
    gpus: tuple[Gpu, ...] = Field(default=(), description="the GPUs used")
    driver: Text | None = Field(default=None, description="version of the GPU driver")
    cuda: Text | None = Field(default=None, description="newest CUDA that the driver runs")
    host_id: Text | None = Field(default=None, description="salted hash of what identifies the host's system")
    boot_id: Text | None = Field(default=None, description="salted hash of the id of the kernel's running boot")


class GpuState(Frozen):
    """One GPU at one moment."""

    index: Count = Field(description="index by PCI bus")
    memory_used_bytes: Bytes | None = Field(default=None, description="memory taken by everybody")
    utilization_percent: Count | None = Field(default=None, description="time in which a kernel ran, by the driver")
    temperature_c: Whole | None = Field(default=None, description="temperature")
    power_w: Reading | None = Field(default=None, description="power draw")
    sm_clock_mhz: Count | None = Field(default=None, description="clock of the multiprocessors")
    memory_clock_mhz: Count | None = Field(default=None, description="clock of the memory")
    processes: tuple[Count, ...] = Field(default=(), description="ids of the processes on it")


class MachineState(Frozen):
    """The machine at one moment."""

    unix_s: UnixSeconds = Field(description="when, on the system's clock")
    load_1min: Reading = Field(description="load average over one minute")
    memory_available_bytes: Bytes = Field(description="host memory that programs can take")
    gpus: tuple[GpuState, ...] = Field(default=(), description="each GPU used")


class Pace(Frozen):
    """How fast the host went at one moment, in the worker on its cores, while the device was idle.

    Each is the 10th percentile of bursts of a millisecond, which an interrupt does not change; a neighbour on a shared
    host does, for seconds: so that a record has many of them.
    Launches are timed on the host, while it runs ahead of the device, where PyTorch uses a GPU in the worker itself.
    """

    process: Count = Field(default=0, description="of which worker process of the cell, from 0")
    python_loop_s: Taken | None = Field(default=None, description="one pass of a loop in Python")
    kernel_launch_s: Taken | None = Field(
        default=None, description="one launch of a small kernel by PyTorch; none where a process of its own launches"
    )
    graph_launch_s: Taken | None = Field(
        default=None, description="one launch of a CUDA graph of 100 small kernels; none as above"
    )


# The parts of a pace, which are held against those of another one.
PACE_PARTS = ("python_loop_s", "kernel_launch_s", "graph_launch_s")


def pace_ratios(one: Sequence[Pace], other: Sequence[Pace]) -> dict[str, float]:
    """How many times as long each part takes on the slower of two hosts, by the medians of `one` and of `other`.

    Only of parts whose ranges are apart: a shared host swings by more than what two hosts differ in.
    """
    ratios = {}
    for part in PACE_PARTS:
        times_s = [[time_s for pace in paces if (time_s := getattr(pace, part))] for paces in (one, other)]
        if all(times_s):
            faster, slower = sorted(times_s, key=median)
            if max(faster) < min(slower):
                ratios[part] = median(slower) / median(faster)
    return ratios


class Colocation(Frozen):
    """Of a worker that ran beside others of the same sweep."""

    workers_beside: Count = Field(description="how many others there were at most")
    cores: Count = Field(description="processor cores it was bound to; 0: none of its own")


class DevicePeaks(Frozen):
    """What one device was measured to do at best, by PyTorch on it, alone."""

    device: Text = Field(description="name of the device")
    bandwidths: tuple[tuple[Positive, PerSecond], ...] = Field(
        min_length=1,
        description="pairs of a working set in bytes and the bytes/s at which it was read or copied over and over",
    )
    flops_per_s: PerSecond = Field(description="operations/s of large matrix products")
    matrix_dtype: Text = Field(description="type of these products: the fastest that models have")
    torch: Text = Field(description="version of PyTorch")
    other_cores: Reading = Field(
        default=0.0, description="cores that others kept busy meanwhile, which lowers a processor's peaks"
    )
