"""Where it ran: the hardware, its state, and what it was measured to do at best."""

from pydantic import Field

from speed_benchmark.record.base import Bytes, Count, Frozen, PerSecond, Positive, Reading, Text, UnixSeconds, Whole


class Gpu(Frozen):
    """One GPU as the driver names it."""

    index: Count = Field(description="index by PCI bus")
    name: Text = Field(description="name of the model")
    memory_bytes: Bytes = Field(description="memory of the card")
    power_limit_w: Reading | None = Field(default=None, description="enforced power limit")


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
