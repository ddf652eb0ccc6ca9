"""NVIDIA's management library (NVML); every reading is None or empty where there is none.

An index here is that of NVML, by PCI bus. Importing this module imports no other of the tool, so
that the sampler stays small.
"""

import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pynvml

if TYPE_CHECKING:
    from speed_benchmark.record.machine import Gpu, GpuState

_PCI_DEVICES = Path("/sys/bus/pci/devices")
# Why the driver keeps a clock below its highest, by NVML's bits; that the GPU is idle, bit 0x01, is left out.
THROTTLE_REASONS = {
    0x02: "applications clocks setting",
    0x04: "software power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks setting",
}


class Reading(TypedDict):
    """One GPU at one moment; None where this driver or card can't say. `throttle` has NVML's bits."""

    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    utilization_percent: int | None
    memory_used_bytes: int | None
    energy_j: float | None
    throttle: int
    processes: tuple[int, ...]


@cache
def _ready() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def _device(index: int) -> Any:  # noqa: ANN401 - NVML's own type
    return _read("nvmlDeviceGetHandleByIndex", index) if _ready() else None


def _read(name: str, *arguments: object) -> Any:  # noqa: ANN401 - NVML answers in many types
    """What NVML's function of this name answers.

    None where this driver, card or version of the library has no answer, or where there is no card (None) to ask.
    """
    call = getattr(pynvml, name, None)
    if call is None or None in arguments:
        return None
    try:
        return call(*arguments)
    except pynvml.NVMLError:
        return None


def gpu_count() -> int:
    """How many NVIDIA GPUs this machine has."""
    return int(_read("nvmlDeviceGetCount") or 0) if _ready() else 0


def index_of(uuid: str) -> int | None:
    """The index of the GPU that CUDA_VISIBLE_DEVICES names by its UUID; None where there is none, or more than one.

    `GPU-…` may be cut short as long as it is unique; for `MIG-…`, a part of a GPU, it is the index of the whole GPU.
    """
    if not _ready():
        return None
    handle = _read("nvmlDeviceGetHandleByUUID", uuid)
    if uuid.startswith("MIG-"):
        handle = _read("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle)
    elif handle is None and uuid.startswith("GPU-"):
        begins = [index for index in range(gpu_count()) if str(_uuid(index)).startswith(uuid)]
        return begins[0] if len(begins) == 1 else None
    index = _read("nvmlDeviceGetIndex", handle)
    return int(index) if index is not None else None


def cuda_name(index: int) -> str:
    """What CUDA_VISIBLE_DEVICES must say for a GPU: its index, or the part of it that is named there for this process.

    Where a GPU is split into MIG devices, CUDA takes these by name only.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    parts = [name.strip() for name in named if name.strip().startswith("MIG-")]
    return next((name for name in parts if index_of(name) == index), str(index))


def _uuid(index: int) -> str | None:
    uuid: str | None = _read("nvmlDeviceGetUUID", _device(index))
    return uuid


def versions() -> tuple[str | None, str | None]:
    """The versions of the driver and of the newest CUDA that it runs."""
    if not _ready():
        return None, None
    driver = _read("nvmlSystemGetDriverVersion")
    cuda = _read("nvmlSystemGetCudaDriverVersion")
    return driver, f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None


def describe(index: int) -> "Gpu":
    """What one GPU is; a nameless one of 0 bytes where the driver has stopped to answer."""
    from speed_benchmark.machine.identity import hashed
    from speed_benchmark.record.machine import Gpu

    handle, uuid = _device(index), _uuid(index)
    memory = _read("nvmlDeviceGetMemoryInfo", handle)
    limit_mw = _read("nvmlDeviceGetEnforcedPowerLimit", handle)
    return Gpu(
        index=index,
        name=str(_read("nvmlDeviceGetName", handle) or "unknown"),
        memory_bytes=int(memory.total) if memory else 0,
        power_limit_w=limit_mw / 1000 if limit_mw else None,
        card_id=hashed("card", uuid) if uuid else None,
    )


def memory_bytes_per_s(index: int) -> float | None:
    """The theoretical bandwidth of one GPU's memory: two transfers a clock over the width of its bus."""
    handle = _device(index)
    clock_mhz = _read("nvmlDeviceGetMaxClockInfo", handle, pynvml.NVML_CLOCK_MEM)
    bits = _read("nvmlDeviceGetMemoryBusWidth", handle)
    return 2 * clock_mhz * 1e6 * bits / 8 if clock_mhz and bits else None


def numa_node(index: int) -> int | None:
    """The NUMA node that one GPU is attached to; None where the system knows none (one node, many virtual machines)."""
    pci = _read("nvmlDeviceGetPciInfo", _device(index))
    if pci is None:
        return None
    try:
        node = int((_PCI_DEVICES / f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0" / "numa_node").read_text())
    except OSError:
        return None
    return node if node >= 0 else None


def compute_capability(index: int) -> tuple[int, int] | None:
    """The generation of one GPU: (8, 0) of an A100, (9, 0) of an H100."""
    found = _read("nvmlDeviceGetCudaComputeCapability", _device(index))
    return (int(found[0]), int(found[1])) if found else None


def read(index: int) -> Reading:
    """One GPU now."""
    handle = _device(index)
    memory = _read("nvmlDeviceGetMemoryInfo", handle)
    utilization = _read("nvmlDeviceGetUtilizationRates", handle)
    power_mw = _read("nvmlDeviceGetPowerUsage", handle)
    energy_mj = _read("nvmlDeviceGetTotalEnergyConsumption", handle)
    throttle = _read("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if throttle is None:  # a driver from before they were renamed
        throttle = _read("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return Reading(
        sm_clock_mhz=_read("nvmlDeviceGetClockInfo", handle, pynvml.NVML_CLOCK_SM),
        memory_clock_mhz=_read("nvmlDeviceGetClockInfo", handle, pynvml.NVML_CLOCK_MEM),
        temperature_c=_read("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU),
        power_w=power_mw / 1000 if power_mw is not None else None,
        utilization_percent=utilization.gpu if utilization else None,
        memory_used_bytes=int(memory.used) if memory else None,
        energy_j=energy_mj / 1000 if energy_mj is not None else None,
        throttle=int(throttle or 0),
        processes=tuple(sorted({process.pid for process in _processes(handle)})),
    )


def state(index: int) -> "GpuState":
    """One GPU now, as a record keeps it."""
    from speed_benchmark.record.machine import GpuState

    now = read(index)
    return GpuState(
        index=index,
        memory_used_bytes=now["memory_used_bytes"],
        utilization_percent=now["utilization_percent"],
        temperature_c=now["temperature_c"],
        power_w=now["power_w"],
        sm_clock_mhz=now["sm_clock_mhz"],
        memory_clock_mhz=now["memory_clock_mhz"],
        processes=now["processes"],
    )


def used_memory_bytes(gpus: Sequence[int]) -> int | None:
    """Memory in use on all of `gpus` together, by any process."""
    if not gpus:
        return None
    memories = [_read("nvmlDeviceGetMemoryInfo", _device(gpu)) for gpu in gpus]
    return None if None in memories else sum(int(memory.used) for memory in memories)


def allocated_memory_bytes(index: int) -> int | None:
    """Memory that processes use on one GPU, less what the driver reserves where it tells the two apart."""
    handle = _device(index)
    memory = _read("nvmlDeviceGetMemoryInfo", handle, pynvml.nvmlMemory_v2)
    memory = memory or _read("nvmlDeviceGetMemoryInfo", handle)
    return int(memory.used) if memory else None


def process_memory_bytes(gpus: Sequence[int], processes: Iterable[int]) -> int | None:
    """Memory that `processes` use on `gpus`; None where the driver does not list them (in many containers)."""
    if not gpus:
        return None
    wanted = set(processes)
    used = [process.usedGpuMemory for gpu in gpus for process in _processes(_device(gpu)) if process.pid in wanted]
    return None if not used or None in used else sum(used)


def _processes(handle: object) -> list[Any]:
    return list(_read("nvmlDeviceGetComputeRunningProcesses", handle) or [])
