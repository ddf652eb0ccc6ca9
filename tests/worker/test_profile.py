"""The pass under the profiler: which tokens are traced, and what is said where that fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines.protocol import DeviceWindow, LoadRequest, Request, Sampling
from speed_benchmark.engines.steps import AHEAD, FEWEST_STEPS
from speed_benchmark.record.record import Profile
from speed_benchmark.testing.fake import FakeEngine
from speed_benchmark.worker.profile import SKIPPED, TOKENS, WINDOW_TOKENS, _Watch, left_out, profile

FIRST = SKIPPED + 1
SEEN = DeviceWindow(tokens=31, device_s=0.003, pass_s=0.01, graph_gap_s=0.001)


def generate(watch: _Watch, sequences: int = 1, late: int = 0) -> _Watch:
    """A token of each sequence in each step; the last sequence gets its tokens `late` steps later."""
    for step in range(watch.last + late):
        for sequence in range(sequences):
            own = step - late if sequence == sequences - 1 else step
            if 0 <= own < watch.last:
                watch.on_token(sequence)
    watch.end()
    return watch


class Tracer:
    """Keeps when it is started and stopped, by the number of tokens so far."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.tokens = 0

    def start(self) -> None:
        self.heard.append(("start", self.tokens))

    def stop(self, tokens: int) -> DeviceWindow:
        self.heard.append((f"stop {tokens}", self.tokens))
        return SEEN


@pytest.mark.parametrize(("sequences", "late"), [(1, 0), (4, 0), (4, 3)])
def test_a_window_says_where_in_the_output_it_is(sequences: int, late: int) -> None:
    watch = generate(_Watch(Tracer(), TOKENS, sequences), sequences, late)
    assert watch.window == SEEN.model_copy(update={"first_token": FIRST})
    assert watch.error is None


def test_of_a_batch_it_watches_from_when_all_have_started_until_all_are_done() -> None:
    tracer = Tracer()
    watch = _Watch(tracer, 2, 2)
    for sequence in (0, 0, 0, 0, 1, 1, 1, 0, 1, 1):
        tracer.tokens += 1
        watch.on_token(sequence)
    assert tracer.heard == [("start", 7), ("stop 2", 10)]


def test_a_profiler_that_fails_is_a_line_in_the_record() -> None:
    class Broken(Tracer):
        def start(self) -> None:
            raise RuntimeError("no CUPTI\nhere")

    watch = generate(_Watch(Broken(), TOKENS, 1))
    assert (watch.window, watch.error) == (None, "RuntimeError: no CUPTI here")


def test_a_trace_without_steps_is_a_line_in_the_record() -> None:
    class Stepless(Tracer):
        def stop(self, tokens: int) -> DeviceWindow:
            raise ValueError(f"{tokens}?")

    watch = generate(_Watch(Stepless(), TOKENS, 1))
    assert (watch.window, watch.error) == (None, f"ValueError: {TOKENS}?")


def test_too_few_tokens_are_said_and_the_profiler_is_stopped() -> None:
    tracer = Tracer()
    watch = _Watch(tracer, 5, 2)
    for token in range(8):
        watch.on_token(0)
        if token < 4:
            watch.on_token(1)
    watch.end()
    assert (watch.window, watch.error) == (None, "4 tokens came, 8 were asked for")
    assert [what for what, _ in tracer.heard] == ["start", "stop 5"]


def of_fake(tmp_path: Path, start: Request, end: Request | None = None, **script: Any) -> Profile | None:
    """What is seen of the fake engine with this script."""
    (tmp_path / "fake.json").write_text(json.dumps(script))
    load = LoadRequest(checkpoint_dir=str(tmp_path), settings=EngineSettings(engine="fake"), max_total_tokens=999)
    with FakeEngine().open(load) as running:
        return profile(running, start, end)


def request(context_length: int, generate_length: int) -> Request:
    prompt = tuple(range(context_length))
    return Request(prompts=(prompt,), generate_length=generate_length, sampling=Sampling(), seed=0)


DEVICE: dict[str, Any] = {"kernels": {"gemm": 0.004, "flash_fwd": 0.002}, "graph_gap_s": 0.001, "token_s": 0.01}


@pytest.mark.engine
def test_the_start_and_the_end_of_an_output(tmp_path: Path) -> None:
    seen = of_fake(tmp_path, request(5, 200), request(5 + 161, 39), **DEVICE)
    assert seen is not None
    assert (seen.error, seen.device_busy_share) == (None, None)
    assert seen.start is not None
    assert (seen.start.first_token, seen.start.tokens) == (FIRST, TOKENS)
    assert (seen.start.device_s, seen.start.pass_s, seen.start.graph_gap_s) == (0.006, 0.01, 0.001)
    assert [(one.name, one.s_per_token) for one in seen.start.kernels] == [("gemm", 0.004), ("flash_fwd", 0.002)]
    assert seen.end == seen.start.model_copy(update={"first_token": FIRST + 161})


@pytest.mark.engine
def test_without_a_device_or_enough_tokens_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert of_fake(tmp_path, request(1, 100)) is None
    shortest = FIRST + FEWEST_STEPS + 1 + AHEAD
    assert of_fake(tmp_path, request(1, shortest - 1), **DEVICE) is None
    assert of_fake(tmp_path, request(1, shortest), **DEVICE) is not None


def test_an_output_has_an_end_of_its_own_once_two_windows_do_not_overlap() -> None:
    assert left_out(WINDOW_TOKENS + TOKENS - 1) == 0
    assert left_out(WINDOW_TOKENS + TOKENS) == TOKENS
    assert left_out(2048) == 2048 - WINDOW_TOKENS
