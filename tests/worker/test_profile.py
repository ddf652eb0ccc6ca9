"""How busy a device is: the union of what it did, from the profiler's own records."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines.protocol import LoadRequest, Request, Sampling
from speed_benchmark.engines.trace import DeviceTrace
from speed_benchmark.record.record import Profile
from speed_benchmark.testing.fake import FakeEngine
from speed_benchmark.worker.profile import TOKENS, _Watch, covered, device_busy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0),
        ([(1, 3)], 2),
        ([(5, 6), (1, 3)], 3),
        ([(1, 4), (2, 3)], 3),
        ([(1, 3), (2, 5), (5, 6)], 5),
        ([(1, 3), (1, 3)], 2),
    ],
)
def test_what_overlaps_counts_once(spans: list[tuple[float, float]], length: float) -> None:
    assert covered(spans) == length


def generate(watch: _Watch, sequences: int = 1, late: int = 0) -> None:
    """A token of each sequence in each step; the last sequence gets its tokens `late` steps later."""
    for step in range(watch.last + late):
        for sequence in range(sequences):
            own = step - late if sequence == sequences - 1 else step
            if 0 <= own < watch.last:
                watch.on_token(sequence)


class Tracer:
    """Keeps when it is started and stopped, by the number of tokens so far; its device was busy for 3 of 4 seconds."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.tokens = 0

    def start(self) -> None:
        self.heard.append(("start", self.tokens))

    def stop(self) -> tuple[float, list[tuple[int, int]]]:
        self.heard.append(("stop", self.tokens))
        return 4.0, [(10**9, 3 * 10**9), (2 * 10**9, 4 * 10**9)]


@pytest.mark.parametrize(("sequences", "late"), [(1, 0), (4, 0), (4, 3)])
def test_the_share_is_of_the_time_between_the_tokens(sequences: int, late: int) -> None:
    watch = _Watch(Tracer(), TOKENS, sequences)
    generate(watch, sequences, late)
    assert watch.profile() == Profile(device_busy_share=0.75, tokens=TOKENS)


def test_of_a_batch_it_watches_from_when_all_have_started_until_all_are_done() -> None:
    tracer = Tracer()
    watch = _Watch(tracer, 2, 2)
    for sequence in (0, 0, 0, 0, 1, 1, 1, 0, 1, 1):
        tracer.tokens += 1
        watch.on_token(sequence)
    assert tracer.heard == [("start", 7), ("stop", 10)]


def test_a_profiler_that_fails_is_a_line_in_the_record() -> None:
    class Broken(Tracer):
        def start(self) -> None:
            raise RuntimeError("no CUPTI\nhere")

    watch = _Watch(Broken(), TOKENS, 1)
    generate(watch)
    assert watch.profile().error == "RuntimeError: no CUPTI here"


def test_too_few_tokens_are_said_and_the_profiler_is_stopped() -> None:
    tracer = Tracer()
    watch = _Watch(tracer, 5, 2)
    for token in range(8):
        watch.on_token(0)
        if token < 4:
            watch.on_token(1)
    assert watch.profile().error == "4 tokens came, 8 were asked for"
    assert [what for what, _ in tracer.heard] == ["start", "stop"]


def test_a_device_that_ran_nothing_is_said() -> None:
    class Idle(Tracer):
        def stop(self) -> tuple[float, list[tuple[int, int]]]:
            return 1.0, []

    watch = _Watch(Idle(), TOKENS, 1)
    generate(watch)
    assert watch.profile().error == "the profiler saw nothing on the GPU"


def test_a_trace_sees_what_ran_and_for_how_long() -> None:
    """With the processor in the GPU's place: the same records of the same profiler."""
    torch = pytest.importorskip("torch")
    trace = DeviceTrace(
        SimpleNamespace(
            cuda=SimpleNamespace(synchronize=lambda: None),
            profiler=SimpleNamespace(
                profile=torch.profiler.profile,
                ProfilerActivity=SimpleNamespace(CUDA=torch.profiler.ProfilerActivity.CPU),
            ),
            autograd=SimpleNamespace(DeviceType=SimpleNamespace(CUDA=torch.autograd.DeviceType.CPU)),
        )
    )
    trace.start()
    for _ in range(5):
        torch._C._nn.linear(torch.ones(64, 64), torch.ones(64, 64))
        time.sleep(0.01)
    seconds, spans = trace.stop()
    assert 0 < covered(spans) / 1e9 < 0.9 * seconds
    assert seconds > 0.05


def test_without_a_gpu_there_is_nothing_to_ask(tmp_path: Path) -> None:
    request = Request(prompts=((1,),), generate_length=100, sampling=Sampling(), seed=0)
    load = LoadRequest(checkpoint_dir=str(tmp_path), settings=EngineSettings(engine="fake"), max_total_tokens=101)
    with FakeEngine().open(load) as running:
        assert device_busy(running, request) is None
