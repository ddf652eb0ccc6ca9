"""What a pass under the profiler leaves behind in its process, and whether it sees the device's time as it is.

Left behind is nothing, or the cells after it would be slower.
Times launches of a kernel and replays of a CUDA graph, before and after each of three passes, in the environment of a
worker; then the same in an environment that lets the profiler stay attached, to show that it would be seen. Prints
each time and its ratio to the shortest one before; exits 1 where what a worker does is more than 10 % slower after a
pass, or where the other is not: attached, the profiler adds 30 % to a launch, while launches vary by 7 %.

Seen is the device's time of a step, its own gaps included: of a graph of short kernels, and of long kernels launched
one by one. CUDA events around the same work, all asked for before it starts and with no profiler in the process, say
how long it takes. Prints both and their ratio; exits 1 where they are more than 2 % apart, which is how well device
times of two machines are to agree.

usage: profiler.py [--gpu N]
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from speed_benchmark.engines.clock import WallClock
from speed_benchmark.engines.protocol import Clock, Loaded, Request, Sampling, Tracer
from speed_benchmark.engines.trace import DeviceTrace
from speed_benchmark.run.environment import worker_environment
from speed_benchmark.worker.profile import profile

PASSES, TIMES, LAUNCHES, GRAPH_KERNELS, REPLAYS = 3, 15, 5000, 400, 100
LARGEST_RATIO = 1.1
# Kernels of 3 us, as those of a small model are, and of 0.2 ms, beside which the gap between two launches is nothing.
SHORT_NUMBERS, LONG_NUMBERS, LONG_KERNELS = 2**20, 2**26, 20
# Ten milliseconds of the device: longer than it takes to ask for all the work of a step.
SLEEP_CYCLES = 20_000_000
LARGEST_DIFFERENCE = 0.02


class Launches:
    """Launches kernels for each token, some by themselves and some in a graph, in the place of a loaded model."""

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            sys.exit("profiler.py needs a GPU, and PyTorch finds none here")
        self.clock: Clock = WallClock((0,))
        self.cached_tokens: int | None = None
        self.tracer: Tracer | None = DeviceTrace(torch)
        self.loaded = Loaded(
            **dict.fromkeys(("attention_implementation", "quantization", "dtype", "execution", "rope"), ""),
            weight_bytes=0,
            devices=(),
        )
        self.tokens = 0
        self.numbers = torch.ones(1024, device="cuda")
        self._torch = torch
        self._short, self._long = (torch.ones(count, device="cuda") for count in (SHORT_NUMBERS, LONG_NUMBERS))
        self.graph, short_graph = self._graph(self.numbers), self._graph(self._short)
        self.steps: dict[str, Callable[[], object]] = {
            "graph": short_graph.replay,
            "launches": lambda: [self._long.add_(1) for _ in range(LONG_KERNELS)],
        }
        self.step = "graph"

    def _graph(self, numbers: Any) -> Any:
        graph = self._torch.cuda.CUDAGraph()
        numbers.add_(1)
        self.clock.synchronize()
        with self._torch.cuda.graph(graph):
            for _ in range(GRAPH_KERNELS):
                numbers.add_(1)
        return graph

    def prepare(self, request: Request) -> None:
        """Keep how many tokens are asked for."""
        self.tokens = request.generate_length

    def generate(self, on_token: Callable[[int], None]) -> Sequence[Sequence[int]]:
        """Do the work of a step for each token."""
        for _ in range(self.tokens):
            self._work()
            self.clock.synchronize()
            on_token(0)
        return [range(self.tokens)]

    def _work(self) -> None:
        self.numbers.clamp_(0, 1)  # a kernel that runs once a step, by which steps are told
        self.steps[self.step]()

    def device_us(self) -> dict[str, float]:
        """The device's time of each kind of step by CUDA events, which need no profiler."""
        found = {}
        for step in self.steps:
            self.step = step
            found[step] = median(self._by_events_us() for _ in range(TIMES))
        return found

    def traced_us(self, request: Request) -> dict[str, float]:
        """The same by the profiler."""
        found = {}
        for step in self.steps:
            self.step = step
            seen = profile(self, request)
            assert seen is not None
            assert seen.start is not None, seen.error
            found[step] = (seen.start.device_s + seen.start.graph_gap_s) * 1e6
        return found

    def _by_events_us(self) -> float:
        start, end = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._torch.cuda._sleep(SLEEP_CYCLES)
        start.record()
        self._work()
        end.record()
        self.clock.synchronize()
        return float(start.elapsed_time(end)) * 1000

    def times_us(self) -> dict[str, float]:
        """The shortest time of a launch and of a replay: all else on the machine only makes them longer."""
        return {
            "launch": min(self._time_us(lambda: self.numbers.add_(1), LAUNCHES) for _ in range(TIMES)),
            "graph": min(self._time_us(self.graph.replay, REPLAYS) for _ in range(TIMES)),
        }

    def _time_us(self, work: Callable[[], object], count: int) -> float:
        self.clock.synchronize()
        start = self.clock.now()
        for _ in range(count):
            work()
        self.clock.synchronize()
        return (self.clock.now() - start) / count * 1e6


def child() -> None:
    """Print the times before and after each pass, and the device's time without and with the profiler, as JSON."""
    launches = Launches()
    request = Request(prompts=((1,),), generate_length=64, sampling=Sampling(), seed=0)
    launches.times_us()  # the clocks rise
    times, device_us = [launches.times_us()], launches.device_us()
    for _ in range(PASSES):
        traced_us = launches.traced_us(request)
        times.append(launches.times_us())
    print(json.dumps({"times": times, "device": [device_us, traced_us]}))


def measured(environment: dict[str, str]) -> dict[str, list[dict[str, float]]]:
    """What the child prints in a process with this `environment`."""
    done = subprocess.run(
        [sys.executable, __file__, "--child"], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(1)
    found: dict[str, list[dict[str, float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def slowdown(name: str, after: Sequence[dict[str, float]], before_us: dict[str, float]) -> float:
    """The largest ratio of a time `after` a pass to the one before."""
    for what, time_us in before_us.items():
        shown = ", ".join(f"{times[what]:.2f} ({times[what] / time_us:.3f})" for times in after)
        print(f"{name}, {what}: before {time_us:.2f} us, after each pass {shown}")
    return max(times[what] / time_us for what, time_us in before_us.items() for times in after)


def apart(by_events_us: dict[str, float], traced_us: dict[str, float]) -> float:
    """How far the two are apart at most, as a part of the time by events."""
    for what, time_us in by_events_us.items():
        ratio = traced_us[what] / time_us
        print(f"device time, {what}: by CUDA events {time_us:.2f} us, traced {traced_us[what]:.2f} us ({ratio:.3f})")
    return max(abs(traced_us[what] / time_us - 1) for what, time_us in by_events_us.items())


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child()
        return 0
    environment = os.environ | worker_environment((asked.gpu,))
    worker, other = measured(environment), measured(environment | {"TEARDOWN_CUPTI": "0"})
    (before, *after), (before_too, *attached) = worker["times"], other["times"]
    # A host may be slow to warm up: then the first of all times would let any later one pass.
    before_us = {what: min(before[what], before_too[what]) for what in before}
    as_it_is = slowdown("as a worker", after, before_us)
    seen = slowdown("attached", attached, before_us)
    difference = apart(*worker["device"])
    return 0 if as_it_is <= LARGEST_RATIO < seen and difference <= LARGEST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
