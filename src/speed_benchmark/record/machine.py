"""Where it ran: the hardware, its state, and what it was measured to do at best."""

from pydantic import Field

from speed_benchmark.record.base import Frozen


class Gpu(Frozen):
    """One GPU as the driver names it."""

    index: int = Field(description="index by PCI bus")
    name: str = Field(description="name of the model")
    memory_bytes: int = Field(description="memory of the card")
    power_limit_w: float | None = Field(default=None, description="enforced power limit")


class Machine(Frozen):
    """The hardware and the driver: what two records must share to be compared."""

    processor: str = Field(description="model of the processor")
    cores: int = Field(description="logical cores")
    usable_cores: int | None = Field(default=None, description="cores that this tool may run on")
    memory_bytes: int = Field(description="memory of the host")
    system: str = Field(description="operating system and kernel")
    gpus: tuple[Gpu, ...] = Field(default=(), description="the GPUs used")
    driver: str | None = Field(default=None, description="version of the GPU driver")
    cuda: str | None = Field(default=None, description="newest CUDA that the driver runs")


class GpuState(Frozen):
    """One GPU at one moment."""

    index: int = Field(description="index by PCI bus")
    memory_used_bytes: int | None = Field(default=None, description="memory taken by everybody")
    utilization_percent: int | None = Field(default=None, description="time in which a kernel ran, by the driver")
    temperature_c: int | None = Field(default=None, description="temperature")
    power_w: float | None = Field(default=None, description="power draw")
    sm_clock_mhz: int | None = Field(default=None, description="clock of the multiprocessors")
    memory_clock_mhz: int | None = Field(default=None, description="clock of the memory")
    processes: tuple[int, ...] = Field(default=(), description="ids of the processes on it")


class MachineState(Frozen):
    """The machine at one moment."""

    unix_s: float = Field(description="when, on the system's clock")
    load_1min: float = Field(description="load average over one minute")
    memory_available_bytes: int = Field(description="host memory that programs can take")
    gpus: tuple[GpuState, ...] = Field(default=(), description="each GPU used")


class Colocation(Frozen):
    """Of a worker that ran beside others of the same sweep."""

    workers_beside: int = Field(description="how many others there were at most")
    cores: int = Field(description="processor cores it was bound to; 0: none of its own")


class DevicePeaks(Frozen):
    """What one device was measured to do at best, by PyTorch on it, alone."""

    device: str = Field(description="name of the device")
    bandwidths: tuple[tuple[int, float], ...] = Field(
        description="pairs of a working set in bytes and the bytes/s at which it was read or copied over and over"
    )
    flops_per_s: float = Field(description="operations/s of large matrix products")
    matrix_dtype: str = Field(description="type of these products: the fastest that models have")
    torch: str = Field(description="version of PyTorch")
    other_cores: float = Field(
        default=0.0, description="cores that others kept busy meanwhile, which lowers a processor's peaks"
    )
