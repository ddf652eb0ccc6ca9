"""The pace of a host: how long small things take that a processor does for each token, in this process, on its cores.

A model that the host paces is as fast as these are; hosts of one kind, and one host within hours, can differ in them.
"""

import sys
import time
from collections.abc import Callable
from statistics import quantiles
from typing import TYPE_CHECKING

from speed_benchmark.record.machine import Pace

if TYPE_CHECKING:
    import torch

# All three parts before and after six repeats take 0.63 s, and some milliseconds to capture the graphs.
_PART_S = 0.03
# A burst takes about a millisecond, so that some thirty fit, and fewer launches than a device takes ahead (1024).
_PASSES, _KERNELS, _GRAPHS = 50_000, 200, 8
_KERNELS_OF_A_GRAPH = 100
_BURSTS = 10  # the fewest


def measure_pace() -> Pace:
    """The host's pace now; its launches only where this process uses a GPU already, of which this leaves nothing.

    To set CUDA up for this alone would take hundreds of MiB of the GPU's memory.
    """
    launches = _launches() if _uses_cuda() else {}
    return Pace(python_loop_s=_burst_s(_loop, _PASSES), **launches)


def _uses_cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def _loop(passes: int) -> None:
    for _ in range(passes):
        pass


def _launches() -> dict[str, float]:
    """The parts of a pace that need a GPU."""
    import torch

    value = torch.zeros(1, device="cuda")

    def kernels(count: int) -> None:
        for _ in range(count):
            value.add_(1.0)

    kernels(1)  # loads it
    torch.cuda.synchronize()
    kernel_launch_s = _burst_s(kernels, _KERNELS, torch.cuda.synchronize)
    graph = _captured(lambda: kernels(_KERNELS_OF_A_GRAPH))

    def graphs(count: int) -> None:
        for _ in range(count):
            graph.replay()

    graphs(1)
    torch.cuda.synchronize()
    graph_launch_s = _burst_s(graphs, _GRAPHS, torch.cuda.synchronize)
    graph.reset()
    return {"kernel_launch_s": kernel_launch_s, "graph_launch_s": graph_launch_s}


def _captured(call: Callable[[], None]) -> "torch.cuda.CUDAGraph":
    """A graph of what `call` launches.

    Without `torch.cuda.graph`, which empties the allocator's cache: the next request would have to fill it again.
    """
    import torch

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream()):
        graph.capture_begin(capture_error_mode="thread_local")  # an engine's other threads may go on
        call()
        graph.capture_end()
    torch.cuda.synchronize()
    return graph


def _burst_s(call: Callable[[int], None], times: int, settle: Callable[[], None] = lambda: None) -> float:
    """Seconds of one of what `call` does so many times: the 10th percentile of the bursts that fit.

    `settle` is not counted.
    """
    bursts_s: list[float] = []
    until = time.perf_counter() + _PART_S
    while len(bursts_s) < _BURSTS or time.perf_counter() < until:
        start = time.perf_counter()
        call(times)
        bursts_s.append((time.perf_counter() - start) / times)
        settle()
    return quantiles(bursts_s, n=10)[0]
