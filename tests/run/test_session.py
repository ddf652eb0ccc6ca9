"""A sweep inside this process, with real workers of the fake engine: the parent's part, watched from within."""

import json
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import Cell
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.machine import idle
from speed_benchmark.models import source
from speed_benchmark.record import folder as folders
from speed_benchmark.record.folder import read
from speed_benchmark.record.format import parse
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.store import Store
from speed_benchmark.run import resume, session
from speed_benchmark.run.interrupt import Interrupt
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.observer import NullObserver
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.process import Worker, WorkerEndedError
from speed_benchmark.run.stored import Stored
from speed_benchmark.run.sweep import run_sweep
from speed_benchmark.worker import events
from tests.faults.sweeps import make_model
from tests.run import made

pytestmark = pytest.mark.engine


class Watcher(NullObserver):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def planned(self, cells: int, done: int) -> None:
        self.told.append((cells, done))

    def happened(self, cell: Cell, event: events.Event) -> None:  # noqa: ARG002
        self.told.append(event)

    def stored(self, judged: Judged, path: Path) -> None:
        assert path.exists()
        self.told.append(judged)

    def said(self, line: str) -> None:
        self.told.append(line)


class ScriptedWorker:
    """Says what a worker of one cell says up to its pass under the profiler, and then does what `last` does."""

    def __init__(self, job: events.Job, last: Callable[[], Iterator[events.Event | None]]) -> None:
        self._job, self._last = job, last

    def events(self) -> Iterator[events.Event | None]:
        yield made.load_done()
        for number in range(self._job.cells[0].protocol.repeats):
            yield events.Stage(name="repeat", cell=0, index=number + 1, count=2)
            yield events.Sampled(cell=0, warmup=False, sample=made.sample(self._job.cells[0]))
        yield from self._last()

    def go_on(self) -> None:
        """It does not wait."""

    def end(self) -> None:
        """It is no process."""


def sweep(folder: Path, cells: list[Cell], observer: NullObserver | None = None, **policy: Any) -> list[Stored]:
    with Interrupt() as interrupt:
        return sweep_with(interrupt, folder, cells, observer, **policy)


def sweep_with(
    interrupt: Interrupt, folder: Path, cells: list[Cell], observer: NullObserver | None = None, **policy: Any
) -> list[Stored]:
    (folder / "out").mkdir(exist_ok=True)
    group, store = LoadGroup(tuple(cells), ()), Store(folder / "out")
    return run_sweep([group], store, Policy(**policy), Limits(), observer or NullObserver(), interrupt)


def cells(folder: Path, *lengths: int, script: dict[str, Any] | None = None, **protocol: Any) -> list[Cell]:
    model = folder / "m"
    if not model.exists():
        make_model(model, **(script or {}))
    return [made.cell(length, model=str(model), **protocol) for length in lengths]


def test_what_a_sweep_returns(tmp_path: Path) -> None:
    asked = cells(tmp_path, 5, 6, 7)
    sweep(tmp_path, asked[1:2])
    watcher = Watcher()
    found = sweep(tmp_path, asked, watcher)
    assert [one.cell_id for one in found] == [cell.cell_id for cell in asked], "in the order of the cells"
    assert [one.is_new for one in found] == [True, False, True]
    assert all(read(one.path).record_id == one.record_id for one in found)
    assert (3, 1) in watcher.told
    (line,) = [one for one in watcher.told if isinstance(one, str)]
    assert line.startswith("stored already: 1 of 3 (measured ")
    assert line.endswith("; 2 to measure")


def test_the_judgement_of_the_day_is_in_the_file(tmp_path: Path) -> None:
    (one,) = sweep(tmp_path, cells(tmp_path, 5, repeats=1))
    told = json.loads(one.path.read_bytes())["judgement"]
    assert told["verdict"] == one.verdict
    assert set() < set(one.codes) <= {finding["code"] for finding in told["findings"]}


@pytest.mark.parametrize("wait", ["fetch", "idle"])
def test_the_machine_before_is_read_after_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: str) -> None:
    """Hours of download or of other people's work are not what happened meanwhile."""
    ended: list[float] = []

    def slow(do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object) -> object:
            time.sleep(0.3)
            found = do(*arguments)
            ended.append(time.time())
            return found

        return call

    if wait == "fetch":
        monkeypatch.setattr(session, "fetch", slow(source.fetch))
    else:
        monkeypatch.setattr(idle, "wait", slow(idle.wait))
    (one,) = sweep(tmp_path, cells(tmp_path, 5))
    record = read(one.path)
    assert ended
    assert ended[0] <= record.machine_before.unix_s <= record.machine_after.unix_s


def test_the_worker_waits_until_its_cell_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes from it while the parent stores: the next cell is not measured beside that work."""
    quiet: list[bool] = []
    go_on = Worker.go_on

    def slow(worker: Worker) -> None:
        time.sleep(0.5)
        quiet.append(not select.select([worker._said], [], [], 0)[0])
        go_on(worker)

    monkeypatch.setattr(Worker, "go_on", slow)
    found = sweep(tmp_path, cells(tmp_path, 5, 6))
    assert [one.outcome for one in found] == [Outcome.OK] * 2
    assert quiet == [True, True]


@pytest.mark.attack("1.8")
def test_the_store_is_not_read_while_a_worker_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partners of greedy answers are looked for once, before the first worker starts."""
    sweep(tmp_path, cells(tmp_path, 8, 9, sampling="greedy"))
    parsed: list[threading.Thread] = []

    def counted(content: bytes) -> object:
        parsed.append(threading.current_thread())
        return parse(content)

    for module in (folders, resume):
        monkeypatch.setattr(module, "parse", counted)

    class Reader(Watcher):
        def happened(self, cell: Cell, event: events.Event) -> None:  # noqa: ARG002
            self.told.append(len(parsed))

    reader = Reader()
    sweep(tmp_path, cells(tmp_path, 5, 6, 7, sampling="greedy"), reader)
    counts = {one for one in reader.told if isinstance(one, int)}
    assert counts == {4}, "the two that were there, once for their answers and once for the forecast"


def test_a_sweep_of_many_cells_forgets_what_it_stored(tmp_path: Path) -> None:
    """Only what names a record stays; its samples are not kept."""
    import gc

    from speed_benchmark.record.record import Record

    kept: list[int] = []

    class Counter(NullObserver):
        def stored(self, judged: Judged, path: Path) -> None:  # noqa: ARG002
            gc.collect()
            kept.append(sum(type(one) is Record for one in gc.get_objects()))

    sweep(tmp_path, cells(tmp_path, *range(1, 31)), Counter())
    assert max(kept) - min(kept) <= 2


def test_a_failed_load_names_the_packages_that_would_have_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it answers for its cell only as long as they are installed."""
    monkeypatch.setattr(session, "installed", lambda _: {"fake-engine": "2.0"})
    asked = cells(tmp_path, 5, script={"faults": [{"at": "load", "action": "oom"}]})
    (one,) = sweep(tmp_path, asked)
    assert one.outcome is Outcome.OOM
    assert read(one.path).provenance.packages == {"fake-engine": "2.0"}


def test_longer_cells_with_finished_processes_are_not_skipped(tmp_path: Path) -> None:
    """That a shorter one runs out of memory in a later process says nothing of what has run already."""
    asked = cells(tmp_path, 5, 6, processes=2)

    class Breaker(NullObserver):
        def happened(self, cell: Cell, event: events.Event) -> None:
            if isinstance(event, events.Closed):
                fault = {"at": "generate", "action": "oom", "request": 0}
                (Path(cell.model.model_id_or_path) / "fake.json").write_text(json.dumps({"faults": [fault]}))

    found = sweep(tmp_path, asked, Breaker())
    assert [one.outcome for one in found] == [Outcome.OOM] * 2
    assert [len(read(one.path).samples) for one in found] == [2, 2]


def test_longer_cells_are_skipped_after_out_of_memory(tmp_path: Path) -> None:
    found = sweep(tmp_path, cells(tmp_path, 5, 6, script={"room_tokens": 8}))
    assert [one.outcome for one in found] == [Outcome.OOM, Outcome.SKIPPED]
    cause = read(found[1].path).cause
    assert cause is not None
    assert cause.kind == "after_shorter"


def test_a_crash_under_the_profiler_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that counts was measured before."""

    def crash() -> Iterator[events.Event | None]:
        yield events.Stage(name="profile", cell=0)
        raise WorkerEndedError(Outcome.CRASHED, Cause(message="the profiler died"))

    monkeypatch.setattr(session, "Worker", lambda job, *_: ScriptedWorker(job, crash))
    (one,) = sweep(tmp_path, cells(tmp_path, 5))
    record = read(one.path)
    assert (record.outcome, len(record.samples), record.cause) == (Outcome.OK, 2, None)
    assert record.profile is not None
    assert record.profile.error == "the profiler died"


@pytest.mark.parametrize("began", [True, False], ids=["while_it_runs", "before_it_starts"])
def test_a_stop_under_the_profiler_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, began: bool
) -> None:
    with Interrupt() as interrupt:

        def stop() -> Iterator[events.Event | None]:
            if not began:
                interrupt.stop()
            yield events.Stage(name="profile", cell=0)
            interrupt.stop()
            yield None

        monkeypatch.setattr(session, "Worker", lambda job, *_: ScriptedWorker(job, stop))
        (one,) = sweep_with(interrupt, tmp_path, cells(tmp_path, 5))
    assert (one.outcome, len(read(one.path).samples)) == (Outcome.OK, 2)


def test_a_stop_that_comes_with_the_end_of_a_cell_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Interrupt() as interrupt:

        def stop() -> Iterator[events.Event | None]:
            interrupt.stop()
            yield events.CellDone(cell=0)

        monkeypatch.setattr(session, "Worker", lambda job, *_: ScriptedWorker(job, stop))
        (one,) = sweep_with(interrupt, tmp_path, cells(tmp_path, 5))
    assert (one.outcome, len(read(one.path).samples)) == (Outcome.OK, 2)


def test_a_worker_that_closes_before_it_is_done_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the sweep would start workers for ever."""
    asked = cells(tmp_path, 5)
    real = Worker.events

    def hasty(worker: Worker) -> Iterator[events.Event | None]:
        for event in real(worker):
            yield events.Closed() if isinstance(event, events.CellDone) else event

    monkeypatch.setattr(Worker, "events", hasty)
    (one,) = sweep(tmp_path, asked)
    assert one.outcome is Outcome.CRASHED
    assert len(read(one.path).samples) == 2
