"""What a worker measures and says, against the exact figures of the fake engine."""

import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import LoadRequest, Request, Sampling, UnsupportedError
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.record.machine import Pace
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.testing.fake import FakeEngine, RunningFake
from speed_benchmark.worker import __main__ as process
from speed_benchmark.worker import events, measure
from speed_benchmark.worker.failure import ToldError, outcome_of
from speed_benchmark.worker.measure import AUDIT_PAIRS, work
from speed_benchmark.worker.pipe import Pulse
from speed_benchmark.worker.request import measure_request, no_times
from speed_benchmark.worker.versions import versions
from tests.worker.jobs import Listener, done, foreign_tokenizer, job

PROMPTS = ((1, 2, 3), (4, 5, 6), (7, 8, 9))


def test_each_sequence_has_its_own_times_and_counts(tmp_path: Path) -> None:
    heard = done(job(tmp_path, {"batch_size": 3}, prefill_s=1.0, token_s=0.25, stagger_s=0.5))
    (warmup, *repeats) = heard.of(events.Sampled)
    assert warmup.warmup
    assert len(repeats) == 3
    for sample in (said.sample for said in repeats):
        assert [sequence.token_times_s for sequence in sample.sequences] == [
            (1.0, 1.25, 1.5, 1.75),
            (1.5, 1.75, 2.0, 2.25),
            (2.0, 2.25, 2.5, 2.75),
        ]
        assert sample.duration_s == 2.75
        assert (sample.prompt_tokens, sample.output_tokens, sample.cached_tokens) == (9, 12, 0)
        assert [sequence.prompt_tokens for sequence in sample.sequences] == [3, 3, 3]
        assert [sequence.output_tokens for sequence in sample.sequences] == [4, 4, 4]
        assert [sequence.first_token_ids for sequence in sample.sequences] == [(0, 1, 2, 3)] * 3
    (loaded,) = heard.of(events.LoadDone)
    assert loaded.load_s == 10.0
    assert loaded.loaded.simulated
    assert loaded.loaded.max_sequences == 3


def test_without_stagger_the_sequences_come_together(tmp_path: Path) -> None:
    heard = done(job(tmp_path, {"batch_size": 2}))
    for said in heard.of(events.Sampled):
        assert {sequence.token_times_s for sequence in said.sample.sequences} == {(0.5, 0.51, 0.52, 0.53)}


def test_the_load_has_room_for_the_largest_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[LoadRequest] = []
    opened = FakeEngine.open

    def keep(self: FakeEngine, load: LoadRequest) -> Any:
        asked.append(load)
        return opened(self, load)

    monkeypatch.setattr(FakeEngine, "open", keep)
    done(job(tmp_path, {"batch_size": 2, "context_length": 50}, {"batch_size": 7}))
    assert [(load.max_sequences, load.max_total_tokens) for load in asked] == [(7, 54)]


def test_the_worker_waits_after_each_cell(tmp_path: Path) -> None:
    heard = done(job(tmp_path, {}, {"generate_length": 5}))
    after = [heard.said[place + 1] for place, said in enumerate(heard.said) if isinstance(said, events.CellDone)]
    assert after == ["wait", "wait"]
    assert heard.said.count("wait") == 2
    assert isinstance(heard.said[-1], events.Closed)


def test_quick_measures_both_windows_of_a_batch(tmp_path: Path) -> None:
    workload = {"batch_size": 2, "context_length": 10, "generate_length": 500}
    heard = done(job(tmp_path, workload, protocol={"quick": True, "repeats": 2, "warmups": 0}, room_tokens=2 * 510))
    samples = [said.sample for said in heard.of(events.Sampled)]
    assert [sample.window for sample in samples] == ["start", "end"] * 2
    assert [sample.output_tokens for sample in samples] == [2 * 48] * 4
    assert [sample.prompt_tokens for sample in samples] == [2 * 10, 2 * 462] * 2


def test_the_hosts_pace_is_measured_around_the_requests_of_each_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paces = (Pace(python_loop_s=float(number)) for number in range(1, 10))
    monkeypatch.setattr(measure, "measure_pace", lambda: next(paces))
    what = job(tmp_path, {}, {"generate_length": 5}, protocol={"repeats": 2, "audit": True})
    assert done(what).of(events.Paced) == [], "a virtual clock has no host"

    class Real(RunningFake):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.loaded = self.loaded.model_copy(update={"simulated": False})

    monkeypatch.setattr("speed_benchmark.testing.fake.RunningFake", Real)
    told: dict[type, str] = {
        events.Paced: "pace",
        events.Sampled: "request",
        events.Audited: "audit",
        events.CellDone: "done",
    }
    order = [told[type(event)] for event in done(what).said if type(event) in told]
    assert order == ["pace", "request", "request", "pace", "request", "pace", "audit", "done"] * 2


class Recorder(RunningFake):
    """Keeps every request."""

    requests: list[Request]

    def prepare(self, request: Request) -> None:
        self.requests.append(request)
        super().prepare(request)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """All requests that the fake engine gets from now on."""
    kept: list[Request] = []
    monkeypatch.setattr(Recorder, "requests", kept, raising=False)
    monkeypatch.setattr("speed_benchmark.testing.fake.RunningFake", Recorder)
    return kept


def test_the_windows_run_in_the_whole_requests_cache(tmp_path: Path, requests: list[Request]) -> None:
    done(job(tmp_path, {"batch_size": 2, "generate_length": 500}, protocol={"quick": True, "repeats": 1}))
    assert {request.cache_tokens for request in requests} == {503}
    assert {request.total_tokens for request in requests} == {503}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_audit_compares_the_prompts_with_new_ones(tmp_path: Path, requests: list[Request], batch_size: int) -> None:
    workload = {"batch_size": batch_size, "context_length": 20}
    script = {"prefill_s": 3.0, "repeated_prefill_s": 1.0, "stagger_s": 0.5}
    heard = done(job(tmp_path, workload, protocol={"audit": True, "warmups": 0, "repeats": 1}, **script))
    (audited,) = heard.of(events.Audited)
    last_s = 0.5 * (batch_size - 1)
    assert audited.audit.repeated_s == pytest.approx((1.0 + last_s,) * AUDIT_PAIRS)
    assert audited.audit.distinct_s == pytest.approx((3.0 + last_s,) * AUDIT_PAIRS)
    whole, *audit = requests
    repeated, fresh = audit[::2], audit[1::2]
    assert {request.prompts for request in repeated} == {whole.prompts}
    new = [prompt for request in fresh for prompt in request.prompts]
    assert len(set(new) | set(whole.prompts)) == (AUDIT_PAIRS + 2) * batch_size
    assert {request.generate_length for request in audit} == {1}
    assert {request.cache_tokens for request in audit} == {24}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"text_config": {"hidden_size": 64}}, "config.json names no vocab_size"),
        ({"vocab_size": "many"}, "config.json names no vocab_size"),
        ([], "its config.json is not a JSON object"),
    ],
)
def test_a_config_without_a_vocabulary_is_unsupported(tmp_path: Path, config: Any, said: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert unsupported(tmp_path).startswith(said)


def unsupported(folder: Path) -> str:
    """Why the model in `folder` can't be measured."""
    listener = Listener()
    what = job(folder)
    with pytest.raises(ToldError) as caught:
        work(what, listener)
    assert isinstance(caught.value.__cause__, UnsupportedError)
    (failed,) = listener.of(events.Failed)
    assert failed.outcome is Outcome.UNSUPPORTED
    message: str = failed.cause.message
    return message.removeprefix("UnsupportedError: ")


@pytest.mark.attack("2.13")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"do_sample": true, "temperature": -1}', "temperature in its generation_config.json"),
        ('{"do_sample": true, "top_p": 0}', "top_p in its generation_config.json"),
        ('{"repetition_penalty": 0}', "repetition_penalty in its generation_config.json"),
        ("[" * 100_000, "its generation_config.json is not JSON"),
        ('{"top_k": NaN}', "its generation_config.json is not JSON"),
        (" " * 1_000_001, "its generation_config.json is larger than 1000000 bytes"),
    ],
    ids=lambda value: value[:20],
)
def test_a_generation_config_out_of_bounds_is_unsupported(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    assert unsupported(tmp_path).startswith(said)
    done(job(tmp_path, {"sampling": "greedy"}))


@pytest.mark.attack("2.13")
def test_a_temperature_of_zero_is_recorded_as_the_greedy_sampling_that_runs(
    tmp_path: Path, requests: list[Request]
) -> None:
    (tmp_path / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.0, "top_p": 0.8}')
    (prompted,) = done(job(tmp_path)).of(events.Prompted)
    assert prompted.sampling == Sampling()
    assert {request.sampling for request in requests} == {Sampling()}


@pytest.mark.attack("2.14")
def test_another_models_tokenizer_is_unsupported(tmp_path: Path) -> None:
    foreign_tokenizer(tmp_path, 5000)
    assert unsupported(tmp_path).startswith(
        "tokenizer.json gives the id 5000, but by its config.json the model has 5000"
    )
    foreign_tokenizer(tmp_path, 4999)
    done(job(tmp_path))


def test_a_failure_is_told_before_the_engine_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    monkeypatch.setattr(RunningFake, "generate", _raises(ValueError("no\nmore")))
    opened = FakeEngine.open

    @contextmanager
    def slow_to_leave(self: FakeEngine, load: LoadRequest) -> Any:
        with opened(self, load) as running:
            try:
                yield running
            finally:
                listener.said.append("left")

    monkeypatch.setattr(FakeEngine, "open", slow_to_leave)
    with pytest.raises(ToldError):
        work(job(tmp_path), listener)
    (failed,) = listener.of(events.Failed)
    assert listener.said[-2:] == [failed, "left"]
    assert failed.outcome is Outcome.CRASHED
    assert failed.cause.message == "ValueError: no more"


def _raises(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (type("OutOfMemoryError", (RuntimeError,), {})(), Outcome.OOM),
        (MemoryError(), Outcome.OOM),
        (UnsupportedError(), Outcome.UNSUPPORTED),
        (SystemExit(0), Outcome.CRASHED),
        (KeyError(), Outcome.CRASHED),
    ],
)
def test_how_a_cell_ends_that_fails(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


def test_progress_counts_the_tokens_of_all_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed_benchmark.worker.pipe.PULSE_S", 0.001)
    listener = Listener()
    with Pulse(listener, [[1.0, 2.0], [], [3.0]]):
        while not listener.said:
            pass
    assert isinstance(listener.said[0], events.Progress)
    assert listener.said[0].tokens == 3


def test_a_request_of_other_counts_than_asked_is_as_it_came(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text('{"faults": [{"at": "generate", "action": "fewer_tokens"}]}')
    load = LoadRequest(checkpoint_dir=str(tmp_path), settings=EngineSettings(engine="fake"), max_total_tokens=9)
    request = Request(prompts=PROMPTS, generate_length=5, sampling=Sampling(), seed=0)
    with FakeEngine().open(load) as running:
        sample = measure_request(running, request, MemoryReader(()), no_times(request))
    assert [sequence.output_tokens for sequence in sample.sequences] == [4, 4, 4]
    assert [len(sequence.token_times_s) for sequence in sample.sequences] == [4, 4, 4]


def test_a_clock_that_goes_backward_is_shown_as_it_is(tmp_path: Path) -> None:
    fault = {"at": "generate", "action": "backward_times", "request": 1}
    heard = done(job(tmp_path, protocol={"repeats": 1}, faults=[fault]))
    warmup, repeat = (said.sample.sequences[0].token_times_s for said in heard.of(events.Sampled))
    assert warmup == (0.5, 0.51, 0.52, 0.53)
    assert repeat == (0.5, 0.49, 0.5, 0.51)


def test_a_fault_of_closing_comes_when_the_context_is_left(tmp_path: Path) -> None:
    listener = Listener()
    with pytest.raises(RuntimeError, match="the fake engine failed"):
        work(job(tmp_path, faults=[{"at": "close", "action": "error"}]), listener)
    last = listener.said[-1]
    assert isinstance(last, events.Stage)
    assert last.name == "close"


def test_versions_are_of_the_engines_packages_and_the_shared_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> Any:
        return type("Distribution", (), {"metadata": {"Name": name}, "version": "1"})()

    names = ("Torch", "gptqmodel", "transformers", "compressed_tensors", "nvidia-cublas-cu12", "pytest", "rich")
    monkeypatch.setattr("speed_benchmark.worker.versions.distributions", lambda: map(distribution, names))
    expected = {"torch", "gptqmodel", "transformers", "compressed-tensors", "nvidia-cublas-cu12"}
    assert set(versions("transformers")) == set(versions("fake")) == expected


def test_another_engines_broken_plugin_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry.settings_class

    def settings_class(name: str) -> Any:
        if name == "broken":
            raise ImportError
        return found(name)

    monkeypatch.setattr(registry, "names", lambda: ("broken", "transformers"))
    monkeypatch.setattr(registry, "settings_class", settings_class)
    assert "torch" in versions("transformers")


@pytest.mark.parametrize("cores", [(), (0,)])
def test_a_system_without_affinity_uses_all_cores(cores: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_setaffinity", raising=False)
    process.stay_on(cores)


def test_cores_are_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("os.sched_setaffinity", lambda pid, cores: asked.append((pid, cores)), raising=False)
    process.stay_on((1, 2))
    process.stay_on(())
    assert asked == [(0, (1, 2))]
