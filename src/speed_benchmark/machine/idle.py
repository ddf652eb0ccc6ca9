"""Whether GPUs are idle: nothing may compete with what is about to be measured."""

import time
from collections.abc import Callable, Sequence

import psutil

from speed_benchmark.machine import nvml

# Above what an old driver keeps for itself, a desktop's screen, or a process that does nothing: who works on a GPU
# with less shows in how busy it is.
IDLE_BYTES = 2**30
# What an idle GPU may seem to do; the driver rounds to whole percents over a sixth of a second to a second.
IDLE_PERCENT = 5
# Idle for so long in a row counts as idle; so long is waited anyway, for what has just ended to leave the readings.
STILL_S, SETTLE_S, _POLL_S = 0.6, 3.0, 0.2


def busy(gpus: Sequence[int]) -> tuple[str, ...]:
    """What keeps `gpus` from being idle now, a line each; the processes are named where the driver shows them.

    In many containers it shows none: then what is taken and how busy the GPU is decide alone.
    """
    return tuple(reason for gpu in gpus for reason in _reasons(gpu))


def wait(gpus: Sequence[int], patience_s: float, give_up: Callable[[], bool]) -> tuple[str, ...]:
    """Wait until `gpus` are idle, for `patience_s` at most; returns what keeps them busy still, () once idle."""
    if not gpus:
        return ()
    until = time.monotonic() + max(patience_s, SETTLE_S)
    last_reasons, still_until = busy(gpus), time.monotonic() + STILL_S
    while time.monotonic() < until and not give_up():
        time.sleep(_POLL_S)
        reasons = busy(gpus)
        if reasons:
            last_reasons, still_until = reasons, time.monotonic() + STILL_S
        elif time.monotonic() >= still_until:
            return ()
    return last_reasons


def _reasons(gpu: int) -> list[str]:
    now = nvml.read(gpu)
    taken = nvml.allocated_memory_bytes(gpu)
    found = []
    if now["processes"]:
        found.append(f"GPU {gpu} is used by " + ", ".join(map(_name, now["processes"])))
    if taken is not None and taken > IDLE_BYTES:
        found.append(f"GPU {gpu} has {taken / 2**30:.1f} GiB taken")
    if (now["utilization_percent"] or 0) > IDLE_PERCENT:
        found.append(f"GPU {gpu} is {now['utilization_percent']} % busy")
    return found


def _name(pid: int) -> str:
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"
