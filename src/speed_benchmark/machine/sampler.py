"""A process of its own that reads the machine, so that the measured one need not.

GPUs are read ten times a second, so that a request has enough readings for its energy. Without one twice a second
does for what others take of the processor, and leaves machines with few cores to the measured process.

It is started as `python -m speed_benchmark.machine.sampler [GPU…]` and lives until its standard input closes, which
also happens when whoever started it dies. A line `START END` on standard input (seconds of the monotonic clock, which
on Linux all processes share) asks for the readings in that window; the answer is one line of JSON: the readings in
the window, one before, and one after it, which is made at once. Readings from before a window that was asked for are
forgotten, because windows come in order.
"""

import json
import os
import sys
import threading
import time
from bisect import bisect_right
from contextlib import suppress
from typing import Any

import psutil

from speed_benchmark.machine import host, nvml

PERIOD_S, PERIOD_WITHOUT_GPU_S = 0.1, 0.5
# Adding up the memory of processes and asking each core for its frequency costs more than the rest.
SLOW_PERIOD_S = 1.0


class MachineReader:
    """Reads the host and the GPUs with these indices; `root` is the process whose tree is not foreign."""

    def __init__(self, gpus: list[int], root: int) -> None:
        self._gpus, self._root = gpus, root
        self._own: dict[int, psutil.Process] = {}
        self._pids: list[int] = []
        self._names: dict[int, str] = {}
        self._there_before: set[int] = set()
        self._slow_at = float("-inf")
        self._frequency_mhz: float | None = None
        self._other_bytes = 0
        self._first = True

    def read(self) -> dict[str, Any]:
        """One reading: times are cumulative seconds of all cores together."""
        now = time.perf_counter()
        if now - self._slow_at >= SLOW_PERIOD_S:
            self._slow_at = now
            self._look_around()
        at = time.perf_counter()
        busy_s = host.busy_s()
        reading = {
            "at_s": at,
            "other_s": busy_s - self.own_s(),
            "frequency_mhz": self._frequency_mhz,
            "other_bytes": self._other_bytes,
            "gpus": [self._gpu(index) for index in self._gpus],
        }
        self._first = False
        return reading

    def own_s(self) -> float:
        """Seconds of processor time that this tool's processes have used; one that has ended counts by its parent."""
        return sum(_time_s(process) for process in self._own.values())

    def _look_around(self) -> None:
        pids = psutil.pids()
        if pids != self._pids:  # walking the tree reads a file of every process there is
            self._pids = pids
            self._walk_tree()
        memory = psutil.virtual_memory()
        own_bytes = sum(_resident_bytes(process) for process in self._own.values())
        self._other_bytes = max(0, memory.total - memory.available - own_bytes)
        with suppress(OSError, AttributeError, NotImplementedError):  # virtual machines and some ARM have none
            frequency = psutil.cpu_freq()
            self._frequency_mhz = frequency.current if frequency else None

    def _walk_tree(self) -> None:
        with suppress(psutil.Error):
            root = psutil.Process(self._root)
            found = [root, *root.children(recursive=True)]
            self._own = {process.pid: self._own.get(process.pid, process) for process in found}

    def _gpu(self, index: int) -> dict[str, Any]:
        reading: dict[str, Any] = {"index": index, **nvml.read(index)}
        reading["foreign"] = [self._name(pid) for pid in reading.pop("processes") if self._is_foreign(pid)]
        return reading

    def _is_foreign(self, pid: int) -> bool:
        """Whether a process on a GPU is not this tool's.

        A number that names no process here belongs to another container's numbering, and so may be this tool's own,
        unless it was there before anything of this tool was.
        """
        if self._first:
            self._there_before.add(pid)
        if pid in self._own or pid == self._root:
            return False
        if pid in self._there_before:
            return True
        if not psutil.pid_exists(pid):
            return False
        with suppress(psutil.Error):  # it may have been started since the last look
            return self._root not in {parent.pid for parent in psutil.Process(pid).parents()}
        return False

    def _name(self, pid: int) -> str:
        if pid not in self._names:
            self._names[pid] = str(pid)
            with suppress(psutil.Error):
                self._names[pid] = f"{pid} {psutil.Process(pid).name()}"
        return self._names[pid]


def _time_s(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _resident_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _yield_to_others() -> None:
    """Let what is measured go first, and take no core from it before its turn is over."""
    with suppress(OSError, AttributeError):
        os.nice(5)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def main() -> None:
    """Read until standard input closes; answer what is asked there."""
    _yield_to_others()
    gpus = [int(index) for index in sys.argv[1:]]
    machine, period_s = MachineReader(gpus, os.getppid()), PERIOD_S if gpus else PERIOD_WITHOUT_GPU_S
    readings: list[dict[str, Any]] = []
    lock, asked = threading.Lock(), threading.Event()

    def answer() -> None:
        for line in sys.stdin:
            start_s, end_s = map(float, line.split())
            while not readings or readings[-1]["at_s"] < end_s <= time.perf_counter():
                asked.set()
                time.sleep(PERIOD_S / 10)
            with lock:
                times_s = [reading["at_s"] for reading in readings]
                first = max(0, bisect_right(times_s, start_s) - 1)
                del readings[:first], times_s[:first]
                window = readings[: bisect_right(times_s, end_s) + 1]
            sys.stdout.write(json.dumps(window) + "\n")
            sys.stdout.flush()
        os._exit(0)  # even while a driver does not answer

    threading.Thread(target=answer, daemon=True).start()
    due = time.perf_counter()
    while True:
        reading = machine.read()
        with lock:
            readings.append(reading)
        due = max(due + period_s, time.perf_counter() + PERIOD_S / 10)
        if asked.wait(due - time.perf_counter()):
            asked.clear()
            due = time.perf_counter()


if __name__ == "__main__":
    main()
