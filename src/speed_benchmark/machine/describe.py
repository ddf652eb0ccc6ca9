"""The machine: what it is, and how it is doing at one moment."""

import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from speed_benchmark.machine import identity, nvml
from speed_benchmark.record.machine import Gpu, Machine, MachineState

# Drivers and kernels keep a little for themselves, more or less by their version.
_SAME_MEMORY = 0.01


def describe(gpus: Sequence[int]) -> Machine:
    """The hardware that a run on `gpus` (physical indices; none: the CPU) depends on; no names of hosts or users."""
    driver, cuda = nvml.versions()
    return Machine(
        processor=_processor(),
        cores=psutil.cpu_count() or 1,
        usable_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        gpus=tuple(nvml.describe(gpu) for gpu in gpus),
        driver=driver,
        cuda=cuda,
        host_id=identity.host_id(),
        boot_id=identity.boot_id(),
    )


def observe(gpus: Sequence[int]) -> MachineState:
    """The machine now."""
    return MachineState(
        unix_s=time.time(),
        load_1min=psutil.getloadavg()[0],
        memory_available_bytes=psutil.virtual_memory().available,
        gpus=tuple(nvml.state(gpu) for gpu in gpus),
    )


def difference(one: Machine, other: Machine) -> str | None:
    """Why two measurements are not of the same machine, None where they are.

    What makes a machine is its GPUs (model, number and memory), its processor, its cores and its memory, and which host
    it is where that is known; another driver, system, boot or GPU of the same host does not make it another one.
    """
    if _gpus(one) != _gpus(other):
        return f"GPUs: {_gpus(one)} and {_gpus(other)}"
    pairs = zip(sorted(one.gpus, key=_size), sorted(other.gpus, key=_size), strict=True)
    for gpu, its_other in pairs:
        if not _alike(gpu.memory_bytes, its_other.memory_bytes):
            return f"GPU memory: {_gib(gpu.memory_bytes)} and {_gib(its_other.memory_bytes)}"
    if one.processor != other.processor:
        return f"processor: {one.processor} and {other.processor}"
    if one.cores != other.cores:
        return f"cores: {one.cores} and {other.cores}"
    if None not in (one.usable_cores, other.usable_cores) and one.usable_cores != other.usable_cores:
        return f"usable cores: {one.usable_cores} and {other.usable_cores}"
    if not _alike(one.memory_bytes, other.memory_bytes):
        return f"memory: {_gib(one.memory_bytes)} and {_gib(other.memory_bytes)}"
    return other_host(one, other)


def other_host(one: Machine, other: Machine) -> str | None:
    """Why two machines that look the same are not of one host, None where they are, or where nothing tells.

    They are where they have a card or a boot in common, whatever a container calls its host. Where the hosts are not
    known, cards that are all others make another one: two virtual machines of one kind look the same.
    """
    own, others = cards(one), cards(other)
    if own & others or (one.boot_id and one.boot_id == other.boot_id):
        return None
    if one.host_id and other.host_id:
        return None if one.host_id == other.host_id else f"host: {one.host_id} and {other.host_id}"
    if own and others:
        return f"cards: {', '.join(sorted(own))} and {', '.join(sorted(others))}"
    return None


def cards(machine: Machine) -> set[str]:
    """The ids of its GPUs, as far as they are known."""
    return {gpu.card_id for gpu in machine.gpus if gpu.card_id}


def _gpus(machine: Machine) -> str:
    """The models of its GPUs and how many of each, as `2 x NVIDIA H200`."""
    counts = Counter(gpu.name for gpu in machine.gpus)
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items())) or "none"


def _size(gpu: Gpu) -> tuple[str, int]:
    return gpu.name, gpu.memory_bytes


def _alike(one_bytes: int, other_bytes: int) -> bool:
    return abs(one_bytes - other_bytes) <= _SAME_MEMORY * max(one_bytes, other_bytes)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
