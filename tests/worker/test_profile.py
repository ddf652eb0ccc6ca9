"""How busy a device is: the union of what it did, from the profiler's own records."""

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from speed_benchmark.engines.protocol import Engine, Request, Sampling
from speed_benchmark.testing.fake import FakeEngine
from speed_benchmark.worker.profile import SKIPPED, TOKENS, _Watch, covered, device_busy


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


class Sleeper(FakeEngine):
    """Works for some of each token, and sleeps for the rest."""

    def generate(self, on_token: Callable[[], None]) -> Sequence[int]:
        torch = pytest.importorskip("torch")
        for _ in range(SKIPPED + 1 + TOKENS):
            on_token()
            torch._C._nn.linear(torch.ones(64, 64), torch.ones(64, 64))
            time.sleep(0.01)
        return ()


def test_the_share_is_of_the_time_between_the_tokens() -> None:
    """The processor in the GPU's place: the same records of the same profiler."""
    torch = pytest.importorskip("torch")
    on_cpu = SimpleNamespace(
        profiler=SimpleNamespace(
            profile=torch.profiler.profile, ProfilerActivity=SimpleNamespace(CUDA=torch.profiler.ProfilerActivity.CPU)
        ),
        autograd=SimpleNamespace(DeviceType=SimpleNamespace(CUDA=torch.autograd.DeviceType.CPU)),
    )
    watch = _Watch(on_cpu, cast("Engine", Sleeper()), TOKENS)
    Sleeper().generate(watch.on_token)
    profile = watch.profile()
    assert profile.error is None
    assert profile.tokens == TOKENS
    assert profile.device_busy_share is not None
    assert 0 < profile.device_busy_share < 0.9


def test_a_profiler_that_fails_is_a_line_in_the_record() -> None:
    torch = pytest.importorskip("torch")
    broken = SimpleNamespace(
        profiler=SimpleNamespace(
            profile=lambda **_: SimpleNamespace(start=None), ProfilerActivity=torch.profiler.ProfilerActivity
        )
    )
    watch = _Watch(broken, cast("Engine", Sleeper()), TOKENS)
    Sleeper().generate(watch.on_token)
    assert watch.profile().error == "TypeError: 'NoneType' object is not callable"


def test_without_a_gpu_there_is_nothing_to_ask() -> None:
    pytest.importorskip("torch")
    request = Request(prompt_token_ids=(1,), generate_length=100, sampling=Sampling(), seed=0)
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        pytest.skip("a GPU is in use here")
    assert device_busy(cast("Engine", FakeEngine()), request) is None
