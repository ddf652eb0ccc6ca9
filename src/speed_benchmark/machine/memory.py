"""Memory by its names, read around a request."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from speed_benchmark.machine import nvml
from speed_benchmark.record.sample import Memory


class MemoryReader:
    """Reads the memory of this worker: resets the peaks before a request, reads them after it.

    `gpus` are the physical indices of the GPUs used, none on the CPU.
    """

    def __init__(self, gpus: Sequence[int]) -> None:
        self.gpus = tuple(gpus)

    def reset(self) -> None:
        """Start the peaks anew."""
        for device in self._cuda_devices():
            self._torch().cuda.reset_peak_memory_stats(device)
        for process in ("self", *_children()):
            with suppress(OSError):  # a kernel without it keeps the peak since the start
                Path(f"/proc/{process}/clear_refs").write_text("5")

    def read(self) -> Memory:
        """The peaks since the last reset, and what is taken now."""
        devices = self._cuda_devices()
        cuda = self._torch().cuda if devices else None
        children = _children()
        return Memory(
            allocator_peak_allocated_bytes=sum(map(cuda.max_memory_allocated, devices)) if cuda else None,
            allocator_peak_reserved_bytes=sum(map(cuda.max_memory_reserved, devices)) if cuda else None,
            allocator_reserved_bytes=sum(map(cuda.memory_reserved, devices)) if cuda else None,
            process_device_bytes=nvml.process_memory_bytes(self.gpus, {os.getpid(), *children}),
            device_used_bytes=nvml.used_memory_bytes(self.gpus),
            host_peak_rss_bytes=max(filter(None, map(_peak_rss_bytes, ["self", *map(str, children)])), default=None),
        )

    def _cuda_devices(self) -> range:
        torch = sys.modules.get("torch")
        ready = self.gpus and torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
        return range(len(self.gpus)) if ready else range(0)

    @staticmethod
    def _torch() -> Any:  # noqa: ANN401 - torch is there only once an engine has imported it
        return sys.modules["torch"]


def _children() -> list[int]:
    """All processes that this one has started, and those that they have."""
    return [child.pid for child in psutil.Process().children(recursive=True)]


def _peak_rss_bytes(process: str) -> int | None:
    """The peak since the last reset, which Linux alone keeps; None elsewhere, and of a process that has ended.

    `ru_maxrss` is no substitute: it is the peak since the process started, and can't be reset.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
