"""The host's processor: how much of it others use."""

import time

import psutil

# Less than this, in cores, is what a machine does by itself.
QUIET_CORES = 0.25
_IDLE = ("idle", "iowait", "guest", "guest_nice")  # a guest's time is part of the user's


def busy_s() -> float:
    """Seconds that all cores together have worked, time stolen by other virtual machines included."""
    return float(sum(value for name, value in psutil.cpu_times()._asdict().items() if name not in _IDLE))


class Beside:
    """Cores that were busy since it was made, those of this process and of its ended children left out."""

    def __init__(self) -> None:
        self._at_s, self._other_s = time.perf_counter(), self._now_s()

    def cores(self) -> float:
        """How many of them, on average until now."""
        return max(0.0, (self._now_s() - self._other_s) / max(1e-3, time.perf_counter() - self._at_s))

    @staticmethod
    def _now_s() -> float:
        own = psutil.Process().cpu_times()
        return busy_s() - own.user - own.system - own.children_user - own.children_system


def other_cores(seconds: float = 0.5) -> float:
    """How many cores others use now."""
    beside = Beside()
    time.sleep(seconds)
    return beside.cores()
