"""How busy a device is: the union of what it did, from the profiler's own records."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines.clock import WallClock
from speed_benchmark.engines.protocol import LoadRequest, Request, Sampling
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
    """Work for some of each step, and sleep for the rest; the last sequence gets its tokens `late` steps later."""
    torch = pytest.importorskip("torch")
    for step in range(watch.last + late):
        for sequence in range(sequences):
            own = step - late if sequence == sequences - 1 else step
            if 0 <= own < watch.last:
                watch.on_token(sequence)
        torch._C._nn.linear(torch.ones(64, 64), torch.ones(64, 64))
        time.sleep(0.01)


def on_cpu() -> Any:
    """PyTorch with the processor in the GPU's place: the same records of the same profiler."""
    torch = pytest.importorskip("torch")
    return SimpleNamespace(
        profiler=SimpleNamespace(
            profile=torch.profiler.profile, ProfilerActivity=SimpleNamespace(CUDA=torch.profiler.ProfilerActivity.CPU)
        ),
        autograd=SimpleNamespace(DeviceType=SimpleNamespace(CUDA=torch.autograd.DeviceType.CPU)),
    )


@pytest.mark.parametrize(("sequences", "late"), [(1, 0), (4, 0), (4, 3)])
def test_the_share_is_of_the_time_between_the_tokens(sequences: int, late: int) -> None:
    watch = _Watch(on_cpu(), WallClock(), TOKENS, sequences)
    generate(watch, sequences, late)
    profile = watch.profile()
    assert profile.error is None
    assert profile.tokens == TOKENS
    assert profile.device_busy_share is not None
    assert 0 < profile.device_busy_share < 0.9


class Profiler:
    """Keeps when it is started and stopped, by the number of tokens so far."""

    def __init__(self, heard: list[tuple[str, int]]) -> None:
        self.heard, self.tokens = heard, 0

    def start(self) -> None:
        self.heard.append(("start", self.tokens))

    def stop(self) -> None:
        self.heard.append(("stop", self.tokens))


def test_of_a_batch_it_watches_from_when_all_have_started_until_all_are_done() -> None:
    heard: list[tuple[str, int]] = []
    profiler = Profiler(heard)
    torch = SimpleNamespace(
        profiler=SimpleNamespace(profile=lambda **_: profiler, ProfilerActivity=SimpleNamespace(CUDA=None))
    )
    watch = _Watch(torch, WallClock(), 2, 2)
    for sequence in (0, 0, 0, 0, 1, 1, 1, 0, 1, 1):
        profiler.tokens += 1
        watch.on_token(sequence)
    assert heard == [("start", 7), ("stop", 10)]


def test_a_profiler_that_fails_is_a_line_in_the_record() -> None:
    torch = pytest.importorskip("torch")
    broken = SimpleNamespace(
        profiler=SimpleNamespace(
            profile=lambda **_: SimpleNamespace(start=None), ProfilerActivity=torch.profiler.ProfilerActivity
        )
    )
    watch = _Watch(broken, WallClock(), TOKENS, 1)
    generate(watch)
    assert watch.profile().error == "TypeError: 'NoneType' object is not callable"


def test_too_few_tokens_are_said() -> None:
    watch = _Watch(on_cpu(), WallClock(), 5, 2)
    for token in range(8):
        watch.on_token(0)
        if token < 4:
            watch.on_token(1)
    assert watch.profile().error == "4 tokens came, 8 were asked for"


def test_without_a_gpu_there_is_nothing_to_ask(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        pytest.skip("a GPU is in use here")
    request = Request(prompts=((1,),), generate_length=100, sampling=Sampling(), seed=0)
    load = LoadRequest(checkpoint_dir=str(tmp_path), settings=EngineSettings(engine="fake"), max_total_tokens=101)
    with FakeEngine().open(load) as running:
        assert device_busy(running, request) is None
