"""The machine: what it is, and how it is doing at one moment."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from speed_benchmark.machine import nvml
from speed_benchmark.record.record import Machine, MachineState


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
    )


def observe(gpus: Sequence[int]) -> MachineState:
    """The machine now."""
    return MachineState(
        unix_s=time.time(),
        load_1min=psutil.getloadavg()[0],
        memory_available_bytes=psutil.virtual_memory().available,
        gpus=tuple(nvml.state(gpu) for gpu in gpus),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
