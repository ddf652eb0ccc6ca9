"""Workers as their parent has them: how they end, and that they wait for it."""

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from speed_benchmark import files
from speed_benchmark.record.folder import read
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import StoreError
from speed_benchmark.run import session
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.process import Worker, WorkerEndedError
from speed_benchmark.run.recorder import Recorder
from speed_benchmark.worker import events, orphans
from tests.run.test_session import cells, sweep
from tests.worker.jobs import job

pytestmark = pytest.mark.engine


def worker_with(fault: str, folder: Path) -> Worker:
    what = job(folder, {}, faults=[{"at": "generate", "action": fault}])
    return Worker(what, Limits(), dict(os.environ))


@pytest.mark.attack("1.28")
@pytest.mark.parametrize("fault", ["exit_3", "sigkill", "error", "hang"])
def test_a_group_is_killed_only_while_its_id_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Once it has been waited for, any process may have it."""
    taken: list[bool] = []
    killpg = os.killpg

    def noting(group: int, number: int) -> None:
        taken.append(psutil.pid_exists(group))
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", noting)
    worker = worker_with(fault, tmp_path)
    if fault == "hang":
        next(event for event in worker.events() if isinstance(event, events.LoadDone))
    else:
        with pytest.raises(WorkerEndedError):
            list(worker.events())
    worker.end()
    worker.end()
    assert taken == [True]


@pytest.mark.attack("1.27")
def test_the_kernel_ends_a_worker_whose_guard_was_killed_before(tmp_path: Path) -> None:
    """Its parent is a process between this one and it."""
    worker_file = tmp_path / "worker"
    parent = os.fork()
    if parent == 0:
        worker = worker_with("hang", tmp_path)
        for event in worker.events():
            if isinstance(event, events.Prompted):
                worker_file.write_text(str(worker._process.pid))
        os._exit(0)
    try:
        give_up = time.monotonic() + 30
        while not worker_file.exists() or not worker_file.read_text():
            assert time.monotonic() < give_up
            time.sleep(0.01)
        child = psutil.Process(int(worker_file.read_text()))
        (guard,) = child.children()
        guard.kill()
        assert child.is_running()
    finally:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
    gone, alive = psutil.wait_procs([child], 10)
    assert (gone, alive) == ([child], [])


def test_what_this_process_inherited_is_taken_away() -> None:
    """Its own child stands for that; of what it has no part in, nothing is waited for."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    orphans.reap(child)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)
    orphans.reap(-os.getppid(), 1)


@pytest.mark.attack("2.2")
def test_secrets_are_hidden_in_causes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "fake engine failed")
    with pytest.raises(WorkerEndedError) as ended:
        list(worker_with("error", tmp_path).events())
    cause = ended.value.cause
    assert cause.message.startswith("RuntimeError: the ")
    assert "RuntimeError: the " in " ".join(cause.last_lines)
    assert "fake engine failed" not in f"{cause.message} {cause.last_lines}"


@pytest.mark.attack("1.7")
def test_nothing_is_measured_while_the_parent_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside the record of a cell nor beside a part of one, between the cells of one load too."""
    workers: list[Worker] = []
    quiet: list[bool] = []

    class Kept(Worker):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            workers.append(self)

    def slow(store: Callable[..., None]) -> Callable[..., None]:
        def call(recorder: Recorder, record: Record, key: str) -> None:
            time.sleep(0.3)
            quiet.append(not select.select([workers[-1]._said], [], [], 0)[0])
            store(recorder, record, key)

        return call

    monkeypatch.setattr(session, "Worker", Kept)
    for name in ("store", "store_part"):
        monkeypatch.setattr(Recorder, name, slow(getattr(Recorder, name)))
    found = sweep(tmp_path, cells(tmp_path, 5, 6, 7, processes=2))
    assert [one.outcome for one in found] == [Outcome.OK] * 3
    assert len(workers) == 2
    assert quiet == [True] * 6


def test_what_a_full_disk_refuses_is_all_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second cell's part is refused: what is finished of the first one does not come back by itself either."""
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))
    write_whole, parts = files.write_whole, []

    def full(path: Path, *given: Any, **how: Any) -> None:
        if spare not in path.parents:
            raise OSError(28, "No space left on device")
        write_whole(path, *given, **how)

    def keep(_recorder: Recorder, _record: Record, key: str) -> None:
        parts.append(key)
        if len(parts) == 2:
            monkeypatch.setattr(files, "write_whole", full)
            raise StoreError("no part is kept")

    monkeypatch.setattr(Recorder, "store_part", keep)
    with pytest.raises(StoreError, match="no part is kept") as refused:
        sweep(tmp_path, cells(tmp_path, 5, 6, 7, processes=2))
    rescued = sorted(spare.glob("speed_benchmark_*/*.json"))
    assert [len(read(path).samples) for path in rescued] == [2, 2]
    assert {read(path).cell.workload.context_length for path in rescued} == {5, 6}
    assert all(str(path) in str(refused.value) for path in rescued)
