"""A stand-in for the NVML library, which answers from a table: for the logic around it, where there is no GPU."""

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """What NVML raises for all that it can't do."""


class FakeNvml:
    """Answers `nvmlDeviceGet…` from `values`; what is not there is not supported."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU, nvmlMemory_v2 = 1, 2, 0, 0x02000028  # noqa: N815

    def __init__(self, **values: Any) -> None:
        self.values = values

    def nvmlInit(self) -> None:  # noqa: N802
        """There is always a driver."""

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            if name == "nvmlDeviceGetHandleByIndex":
                return f"gpu {arguments[0]}"
            value = self.values.get(name.removeprefix("nvmlDeviceGet"), NVMLError)
            value = value(*arguments) if callable(value) and value is not NVMLError else value
            if value is NVMLError:
                raise NVMLError(name)
            return value

        return call


def process(pid: int, used: int | None = None) -> SimpleNamespace:
    """A process on a GPU."""
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


def memory(used: int, total: int = 80 * 2**30) -> SimpleNamespace:
    """A GPU's memory."""
    return SimpleNamespace(used=used, total=total)
