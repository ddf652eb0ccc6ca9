"""FlashInfer's sampler, vLLM's default on its GPUs, which a load would compile in its middle: built before the first.

As a program, `python -m speed_benchmark.engines.vllm.kernels` builds it, or finds that it is built.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from speed_benchmark import files
from speed_benchmark.cell import digest
from speed_benchmark.machine import nvml

VARIABLE = "VLLM_USE_FLASHINFER_SAMPLER"


def is_forced_off() -> bool:
    """Whether the user has turned FlashInfer's sampler off."""
    return os.environ.get(VARIABLE) == "0"


def building(gpu: int) -> Callable[[], None] | None:
    """What builds the sampler for a GPU; None where it was built before, is turned off, or FlashInfer is not there.

    Compiling takes minutes, and a load that dies in its middle would start over. In a process of its own, so that CUDA
    is not initialised in this one before vLLM does it as it sees fit.
    """
    if is_forced_off() or find_spec("flashinfer") is None:
        return None
    key = digest([_version("flashinfer-python"), _version("torch"), nvml.describe(gpu).name])
    built = files.cache_folder("kernels") / f"{key.removeprefix('sha256:')[:32]}.built"
    if built.exists():
        return None

    def build() -> None:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", __name__], stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode == 0:  # else vLLM says why at its start, or does without
            files.write_cache(built, b"")

    return build


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Build it; at once where it is built."""
    from flashinfer.jit.sampling import gen_sampling_module

    sampler = gen_sampling_module()
    if not sampler.is_compiled:
        sampler.build(verbose=False)


if __name__ == "__main__":
    main()
