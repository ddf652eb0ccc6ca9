"""The host's processor: how much of it other processes use."""

import time

import psutil

# Fewer busy cores than this are what a machine's own services take.
QUIET_CORES = 0.25
_IDLE = ("idle", "iowait", "guest", "guest_nice")  # a guest's time is part of the user's


def busy_s() -> float:
    """Seconds that all cores together have worked, time stolen by other virtual machines included."""
    return float(sum(value for name, value in psutil.cpu_times()._asdict().items() if name not in _IDLE))


class OtherCpu:
    """Cores that other processes kept busy since it was made; this process and its ended children don't count."""

    def __init__(self) -> None:
        self._at_s, self._other_s = time.perf_counter(), self._now_s()

    def cores(self) -> float:
        """Their number, on average until now."""
        return max(0.0, (self._now_s() - self._other_s) / max(1e-3, time.perf_counter() - self._at_s))

    @staticmethod
    def _now_s() -> float:
        own = psutil.Process().cpu_times()
        return busy_s() - own.user - own.system - own.children_user - own.children_system


def other_cores(seconds: float = 0.5) -> float:
    """Cores that other processes keep busy now, on average over so many seconds."""
    other_cpu = OtherCpu()
    time.sleep(seconds)
    return other_cpu.cores()
