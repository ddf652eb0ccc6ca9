"""Device peaks: the bandwidth and FLOP/s of this machine at best, measured by PyTorch and kept in the user's cache.

As a program, `python -m speed_benchmark.machine.peaks cpu|cuda` measures one device and prints its peaks as JSON.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from speed_benchmark import files
from speed_benchmark.cell import digest
from speed_benchmark.machine import host
from speed_benchmark.machine.describe import describe
from speed_benchmark.record.machine import DevicePeaks

if TYPE_CHECKING:
    import torch

# Raise it when what is measured changes: peaks of an older kind are measured again.
_KIND = 1
_LIMIT_S = 300.0
_MIB = 2**20
# Working sets: from what a processor's caches hold to what none holds.
CPU_SETS = (4 * _MIB, 32 * _MIB, 256 * _MIB)
GPU_SETS = (16 * _MIB, 64 * _MIB, 256 * _MIB, 2048 * _MIB)
CPU_MATRIX, GPU_MATRIX = (512, 1024, 2048), (4096, 8192)
# Each figure is the best of what fits in so long: other work, and clocks that have yet to rise, only make it worse.
CPU_TIME_S, GPU_TIME_S = 0.4, 0.5
# Where a processor has no instructions for a type, its products are a hundred times slower: large ones are left out.
LONGEST_PRODUCT_S = 1.0


def known(gpus: Sequence[int]) -> DevicePeaks | None:
    """The peaks of the first of `gpus`, or of the processor, where they were measured before, whatever ran beside."""
    file = _file(gpus)
    try:
        return DevicePeaks.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def measured(
    gpus: Sequence[int], environment: Mapping[str, str], *, keep: bool = True, again: bool = False
) -> DevicePeaks | None:
    """The peaks that are known, else measured now in a process with this `environment`; None where that fails.

    The device should be idle; `keep` says whether they are kept for the next time. A processor's peaks that were
    measured beside other work are measured again once there is less of it, any peaks if asked to do so `again`.
    Takes a few seconds, and as long again to import PyTorch.
    """
    peaks = None if again else known(gpus)
    if peaks and (gpus or peaks.other_cores <= host.QUIET_CORES or host.other_cores() >= peaks.other_cores):
        return peaks
    try:
        other_cpu = host.OtherCpu()
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", "speed_benchmark.machine.peaks", "cuda" if gpus else "cpu"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_LIMIT_S,
            check=True,
            start_new_session=True,
        )
        peaks = DevicePeaks.model_validate_json(done.stdout.splitlines()[-1])
        peaks = peaks.model_copy(update={"other_cores": other_cpu.cores()})
    except (subprocess.SubprocessError, ValidationError, IndexError):
        return None
    if keep:
        files.write_cache(_file(gpus), peaks.model_dump_json().encode())
    return peaks


def measure_peaks(device: str) -> DevicePeaks:
    """The peaks of `device`, "cpu" or "cuda", measured in this process."""
    import torch

    on_gpu = device == "cuda"
    time_s = GPU_TIME_S if on_gpu else CPU_TIME_S
    bandwidths = tuple(
        (size, max(_best(call, moved, time_s / 2, on_gpu) for call, moved in _transfers(device, size)))
        for size in (GPU_SETS if on_gpu else CPU_SETS)
    )
    dtypes = (torch.bfloat16, torch.float16) if on_gpu else (torch.float32, torch.bfloat16)
    flops = {dtype: _matrix_flops_per_s(device, dtype, time_s) for dtype in dtypes}
    best = max(flops, key=lambda dtype: flops[dtype])
    return DevicePeaks(
        device=torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads of the processor",
        bandwidths=bandwidths,
        flops_per_s=flops[best],
        matrix_dtype=str(best).removeprefix("torch."),
        torch=torch.__version__,
    )


def _transfers(device: str, size: int) -> Iterator[tuple[Callable[[], object], float]]:
    """Ways to go through a working set of `size` bytes, and the bytes that each reads and writes."""
    import torch

    half = torch.ones(size // 2 // 4, dtype=torch.float32, device=device)
    other = torch.empty_like(half)
    yield lambda: other.copy_(half), size
    # As decoding does: a matrix that is read once for one product with a vector.
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    columns = 4096
    matrix = torch.ones((size // columns // dtype.itemsize, columns), dtype=dtype, device=device)
    vector = torch.ones(columns, dtype=dtype, device=device)
    yield lambda: torch.mv(matrix, vector), size
    yield matrix.amax, size


def _matrix_flops_per_s(device: str, dtype: "torch.dtype", time_s: float) -> float:
    """The most operations/s of a matrix product in this type, of the sizes that are quick enough to try."""
    best = 0.0
    for side in GPU_MATRIX if device == "cuda" else CPU_MATRIX:
        for call, operations in _product(device, dtype, side):
            if best and operations / best > LONGEST_PRODUCT_S:
                return best
            best = max(best, _best(call, operations, time_s, device == "cuda"))
    return best


def _product(device: str, dtype: "torch.dtype", side: int) -> Iterator[tuple[Callable[[], object], float]]:
    """A product of square matrices, and its multiplications and additions."""
    import torch

    left = torch.randn((side, side), device=device).to(dtype)
    right = torch.randn((side, side), device=device).to(dtype)
    yield lambda: left @ right, 2 * side**3


def _best(call: Callable[[], object], amount: float, time_s: float, on_gpu: bool) -> float:
    """The most of `amount` per second that `call` did, trying for `time_s`, three times at least."""
    import torch

    def once(times: int) -> float:
        if not on_gpu:
            start = time.perf_counter()
            for _ in range(times):
                call()
            return (time.perf_counter() - start) / times
        # by the device's own clock, so that launching the first is not counted
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(times):
            call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000 / times

    with torch.no_grad():
        once(1)
        times = max(1, int(time_s / 10 / max(once(1), 1e-6)))
        best_s, until, tries = once(times), time.perf_counter() + time_s, 1
        while time.perf_counter() < until or tries < 3:
            best_s, tries = min(best_s, once(times)), tries + 1
    return amount / best_s


def _file(gpus: Sequence[int]) -> Path:
    """Where the peaks of a machine are kept, by what it is; the index of the GPU and a reboot change nothing."""
    described = describe(gpus[:1]).model_dump(mode="json", exclude={"gpus": {"__all__": {"index"}}, "boot_id": True})
    key = digest([_KIND, described])
    return files.cache_folder("peaks") / f"{key.removeprefix('sha256:')[:32]}.json"


def main() -> None:
    """Measure the device named by the first argument."""
    sys.stdout.write(measure_peaks(sys.argv[1]).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
