"""What a pass under the profiler leaves behind in its process: nothing, or the cells after it would be slower.

Times launches of a kernel and replays of a CUDA graph, before and after each of three passes, in the environment of a
worker; then the same in an environment that lets the profiler stay attached, to show that it would be seen. Prints
each time and its ratio to the shortest one before; exits 1 where what a worker does is more than 10 % slower after a
pass, or where the other is not: attached, the profiler adds 30 % to a launch, while launches vary by 7 %.

usage: profiler.py [--gpu N]
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from speed_benchmark.engines.clock import WallClock
from speed_benchmark.engines.protocol import Clock, Loaded, Request, Sampling, Tracer
from speed_benchmark.engines.trace import DeviceTrace
from speed_benchmark.run.environment import worker_environment
from speed_benchmark.worker.profile import device_busy

PASSES, TIMES, LAUNCHES, GRAPH_KERNELS, REPLAYS = 3, 15, 5000, 400, 100
LARGEST_RATIO = 1.1


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
        self.graph = torch.cuda.CUDAGraph()
        self.numbers.add_(1)
        self.clock.synchronize()
        with torch.cuda.graph(self.graph):
            for _ in range(GRAPH_KERNELS):
                self.numbers.add_(1)

    def prepare(self, request: Request) -> None:
        """Keep how many tokens are asked for."""
        self.tokens = request.generate_length

    def generate(self, on_token: Callable[[int], None]) -> Sequence[Sequence[int]]:
        """Work a little for each token."""
        for _ in range(self.tokens):
            self.numbers.add_(1)
            self.graph.replay()
            self.clock.synchronize()
            on_token(0)
        return [range(self.tokens)]

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
    """Print the times before and after each pass, as JSON."""
    launches = Launches()
    request = Request(prompts=((1,),), generate_length=64, sampling=Sampling(), seed=0)
    launches.times_us()  # the clocks rise
    times = [launches.times_us()]
    for _ in range(PASSES):
        profile = device_busy(launches, request)
        assert profile is not None
        assert profile.error is None, profile.error
        times.append(launches.times_us())
    print(json.dumps(times))


def measured(environment: dict[str, str]) -> list[dict[str, float]]:
    """The times before and after each pass, in a process with this `environment`."""
    done = subprocess.run(
        [sys.executable, __file__, "--child"], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(1)
    times: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return times


def slowdown(name: str, after: Sequence[dict[str, float]], before_us: dict[str, float]) -> float:
    """The largest ratio of a time `after` a pass to the one before."""
    for what, time_us in before_us.items():
        shown = ", ".join(f"{times[what]:.2f} ({times[what] / time_us:.3f})" for times in after)
        print(f"{name}, {what}: before {time_us:.2f} us, after each pass {shown}")
    return max(times[what] / time_us for what, time_us in before_us.items() for times in after)


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
    before, *after = measured(environment)
    before_too, *attached = measured(environment | {"TEARDOWN_CUPTI": "0"})
    # A host may be slow to warm up: then the first of all times would let any later one pass.
    before_us = {what: min(before[what], before_too[what]) for what in before}
    as_it_is = slowdown("as a worker", after, before_us)
    seen = slowdown("attached", attached, before_us)
    return 0 if as_it_is <= LARGEST_RATIO < seen else 1


if __name__ == "__main__":
    sys.exit(main())
