"""What ran on the GPU of this process, and when: a trace by PyTorch's profiler."""

from collections.abc import Iterable
from typing import Any

from speed_benchmark.engines.steps import Activity, window
from speed_benchmark.record.record import DeviceWindow


class DeviceTrace:
    """Kernels and copies of this process between `start` and `stop`, with the device idle at either."""

    def __init__(self, torch: Any) -> None:  # noqa: ANN401 - the module, which is not imported here
        self._torch = torch
        self._profiler: Any = None

    def start(self) -> None:
        """Begin."""
        profiler = self._torch.profiler
        self._profiler = profiler.profile(activities=[profiler.ProfilerActivity.CUDA])
        self._torch.cuda.synchronize()
        self._profiler.start()

    def stop(self, tokens: int) -> DeviceWindow:
        """The steps since `start`, of which there are about so many; raises ValueError where it finds none."""
        self._torch.cuda.synchronize()
        self._profiler.stop()
        events = self._profiler.profiler.kineto_results.events()
        return window(activities(events, self._torch.autograd.DeviceType.CUDA), tokens)


def activities(events: Iterable[Any], on_device: object) -> list[Activity]:
    """What ran on the device, among the profiler's `events`; a call and all that it launched share a correlation."""
    ran: list[Any] = []
    launched_ns: dict[int, int] = {}
    for event in events:
        if event.device_type() == on_device:
            ran.append(event)
        else:
            known = launched_ns.get(event.correlation_id(), event.start_ns())
            launched_ns[event.correlation_id()] = min(known, event.start_ns())
    return [
        Activity(
            name=one.name(),
            start_ns=one.start_ns(),
            end_ns=one.start_ns() + one.duration_ns(),
            launched_ns=launched_ns.get(one.correlation_id()),
        )
        for one in ran
    ]
