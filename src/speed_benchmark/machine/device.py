"""The GPUs that a load may use, or the CPU, as far as an estimate must know them."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from speed_benchmark.machine import nvml

CPU_BYTES_PER_S = 1e10
UNKNOWN_GPU_BYTES_PER_S = 1e12


@dataclass(frozen=True)
class Device:
    """Some GPUs (`gpus` 0: the CPU): memory, theoretical bandwidth, name and generation of the smallest of them."""

    gpus: int
    memory_bytes: int
    bytes_per_s: float
    name: str = ""
    compute_capability: tuple[int, int] = (0, 0)


def device(gpus: Sequence[int]) -> Device:
    """The device of a load on `gpus` (physical indices; none: the CPU), as small as its smallest GPU."""
    if not gpus:
        return Device(0, psutil.virtual_memory().total, CPU_BYTES_PER_S)
    known = [nvml.describe(gpu) for gpu in gpus]
    return Device(
        gpus=len(gpus),
        name=known[0].name,
        memory_bytes=min(gpu.memory_bytes for gpu in known),
        bytes_per_s=min(nvml.memory_bytes_per_s(gpu) or UNKNOWN_GPU_BYTES_PER_S for gpu in gpus),
        compute_capability=nvml.compute_capability(gpus[0]) or (0, 0),
    )
