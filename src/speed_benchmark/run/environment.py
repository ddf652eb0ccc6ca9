"""Which environment variables a worker sees, which a record keeps, and which neither may know: secrets."""

import os
from collections.abc import Mapping, Sequence

from speed_benchmark.machine import nvml

# What locates programs, libraries, caches and devices.
_PASSED = {
    *("CC", "CXX", "HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
    *("MAX_JOBS", "VIRTUAL_ENV"),
}
_PASSED_PREFIXES = ("LC_", "PYTHON", "XDG_")
# What steers the libraries of numbers and devices, whatever engine uses them.
_STEERING = (
    *("CUDA", "GOMP_", "KMP_", "MKL_", "NCCL_", "NUMEXPR_", "NVIDIA_", "NVSHMEM_", "OMP_", "OPENBLAS_"),
    *("PYTORCH_", "TORCH", "TRITON_"),
)
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")
# What a container's image asks of the driver: a page of text that changes nothing.
_NEVER_STEERING = "NVIDIA_REQUIRE_"


def worker_environment(gpus: Sequence[int], prefixes: Sequence[str] = ()) -> dict[str, str]:
    """What a worker on `gpus` sees of the environment: a whitelist, so that no secret reaches a model's code.

    `prefixes` are those of the variables that steer its engine.
    """
    wanted = (*_PASSED_PREFIXES, *_STEERING, *prefixes)
    passed = {
        name: value
        for name, value in os.environ.items()
        if (name in _PASSED or name.startswith(wanted)) and not is_secret(name)
    }
    return passed | {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(map(nvml.cuda_name, gpus)),
        "HF_HUB_OFFLINE": "1",  # everything was fetched by the parent
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        # Without it CUPTI stays attached once a cell was profiled, and all later launches take a third longer.
        "TEARDOWN_CUPTI": "1",
    }


def steering(prefixes: Sequence[str] = ()) -> Mapping[str, str]:
    """The variables that may change what a library, or the engine with these `prefixes`, does; no secrets, no paths."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith((*_STEERING, *prefixes))
        and not name.startswith(_NEVER_STEERING)
        and not is_secret(name)
        and "/" not in value
    }


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds what nobody else may know."""
    return any(word in name.upper() for word in _SECRET)
