"""What ran on the GPU of this process, and when: a trace by PyTorch's profiler."""

import time
from typing import Any

Span = tuple[int, int]


class DeviceTrace:
    """Kernels and copies of this process between `start` and `stop`, with the device idle at either."""

    def __init__(self, torch: Any) -> None:  # noqa: ANN401 - the module, which is not imported here
        self._torch = torch
        self._profiler: Any = None
        self._started_s = 0.0

    def start(self) -> None:
        """Begin."""
        profiler = self._torch.profiler
        self._profiler = profiler.profile(activities=[profiler.ProfilerActivity.CUDA])
        self._torch.cuda.synchronize()
        self._profiler.start()
        self._started_s = time.perf_counter()

    def stop(self) -> tuple[float, list[Span]]:
        """The seconds since `start`, and the start and the end of each kernel in nanoseconds."""
        self._torch.cuda.synchronize()
        seconds = time.perf_counter() - self._started_s
        self._profiler.stop()
        on_device = self._torch.autograd.DeviceType.CUDA
        events = self._profiler.profiler.kineto_results.events()
        return seconds, [
            (event.start_ns(), event.start_ns() + event.duration_ns())
            for event in events
            if event.device_type() == on_device
        ]
