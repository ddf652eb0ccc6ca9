"""Stands for NVIDIA's library: CUDA_SHIM_GPUS GPUs, and errors once the file CUDA_SHIM_BREAK is there."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NVML_TEMPERATURE_GPU = NVML_CLOCK_SM = 0
NVML_CLOCK_MEM = 2
nvmlMemory_v2 = 2  # noqa: N816


class NVMLError(Exception):
    pass


def __getattr__(name: str) -> Any:
    """Whatever is asked for that is not below, this driver does not have."""
    if name.startswith("nvmlDevice"):
        return _unsupported
    raise AttributeError(name)


def _unsupported(*_: object) -> None:
    raise NVMLError("not supported")


def _alive() -> None:
    if Path(os.environ["CUDA_SHIM_BREAK"]).exists():
        raise NVMLError("GPU is lost")


def nvmlInit() -> None:  # noqa: N802
    _alive()


def nvmlDeviceGetCount() -> int:  # noqa: N802
    _alive()
    return int(os.environ["CUDA_SHIM_GPUS"])


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return "0"


def nvmlSystemGetCudaDriverVersion() -> int:  # noqa: N802
    return 12000


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802
    _alive()
    return index


def nvmlDeviceGetName(_handle: int) -> str:  # noqa: N802
    _alive()
    return "shim"


def nvmlDeviceGetMemoryInfo(_handle: int, _version: int = 1) -> SimpleNamespace:  # noqa: N802
    _alive()
    return SimpleNamespace(total=80 * 2**30, used=2**20)
