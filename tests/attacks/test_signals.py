"""Whole commands that are sent signals, stopped, killed, and whose engine prints without end."""

import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from benchmarks.signals import at_random
from speed_benchmark.record.outcome import Outcome
from tests.faults.sweeps import arguments, make_model, processes_left, run
from tests.faults.test_fault_surroundings import disk
from tests.run.signals import ended, finish, interrupt, send, start, tree, wait_for_line, worker_of

pytestmark = pytest.mark.engine


@pytest.mark.attack("1.10")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT], ids=["nohup", "background"])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(tmp_path: Path, number: signal.Signals) -> None:
    model, out = make_model(tmp_path / "m", real_token_s=0.1), tmp_path / "out"
    process = start([model], out, lengths="5", preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    ran = interrupt(process, "repeat 1 of 2: input 5", out, number, number)
    assert ran.status == 0
    assert [record.outcome for record in ran.records] == [Outcome.OK]


@pytest.mark.attack("1.20")
@pytest.mark.parametrize("everything", [False, True], ids=["the_parent_alone", "everything"])
def test_standing_still_longer_than_a_limit_is_no_timeout(tmp_path: Path, *, everything: bool) -> None:
    model, out = make_model(tmp_path / "m", real_token_s=0.1), tmp_path / "out"
    limits = [word for name in ("first_token", "token", "close") for word in (f"--{name}_limit_s", "2")]
    process = start([model], out, *limits, lengths="5")
    log = wait_for_line(process, "repeat 1 of 2: input 5")
    pids = tree(process.pid) if everything else [process.pid]
    send(signal.SIGSTOP, pids)
    time.sleep(4)
    send(signal.SIGCONT, pids)
    ran = finish(process, out, log)
    assert ran.status in (0, 1), "one repeat may have taken 4 s more: invalid"
    assert [record.outcome for record in ran.records] == [Outcome.OK]


@pytest.mark.attack("1.6")
@pytest.mark.parametrize("first", ["parent", "worker"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_scheduler_ends_the_whole_tree(tmp_path: Path, first: str, number: signal.Signals) -> None:
    """Whoever is told first: the cell did not fail, and what is finished of it is kept."""
    model, out = make_model(tmp_path / "m", real_token_s=0.1), tmp_path / "out"
    process = start([model], out, "--processes", 2)
    log = wait_for_line(process, "repeat 2 of 2: input 6")
    pids = tree(process.pid)
    send(number, pids if first == "parent" else pids[::-1], apart_s=0.1)
    ran = finish(process, out, log)
    assert ran.status == 130
    assert ran.stderr.splitlines()[-1] == "interrupted; the same command goes on with what is missing"
    assert {record.outcome for record in ran.records} == {Outcome.INTERRUPTED}
    assert sorted(len(record.samples) for record in ran.records) == [1, 2]
    again = run(arguments([model], out, "--processes", 2), out)
    assert again.status == 0
    assert Counter(record.outcome for record in again.records) == {Outcome.OK: 2, Outcome.INTERRUPTED: 2}


@pytest.mark.attack("1.6")
def test_a_worker_that_is_ended_alone_has_failed(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m", real_token_s=0.1), tmp_path / "out"
    process = start([model], out, lengths="5")
    log = wait_for_line(process, "repeat 1 of 2: input 5")
    send(signal.SIGTERM, worker_of(process.pid))
    (record,) = finish(process, out, log).records
    assert record.outcome is Outcome.CRASHED
    assert record.cause is not None
    assert record.cause.signal == "SIGTERM"


@pytest.mark.attack("1.27")
def test_a_worker_ends_whose_guard_and_parent_are_killed(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m", faults=[{"at": "generate", "action": "hang"}]), tmp_path / "out"
    with ended(start([model], out, lengths="5")) as process:
        wait_for_line(process, "warmup 1 of 1: input 5")
        (worker,) = worker_of(process.pid)
        for guard in psutil.Process(worker).children():
            guard.kill()
        time.sleep(0.2)
        assert psutil.pid_exists(worker)
    assert processes_left(tmp_path) == []


@pytest.mark.attack("1.29")
def test_the_first_process_of_a_container_takes_away_its_dead(tmp_path: Path) -> None:
    """Twenty workers leave a guard each, and half of them a process that has left their group."""
    container = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if subprocess.run([*container, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no container can be made here")
    left = {"faults": [{"at": "load", "action": "leave_daemon"}]}
    models = [make_model(tmp_path / name, **script) for name, script in (("m", {}), ("n", left))]
    most = 0
    with ended(start(models, tmp_path / "out", "--processes", 10, lengths="5", prefix=container)) as process:
        while process.poll() is None:
            most = max(most, zombies(process.pid))
            time.sleep(0.02)
    assert process.returncode == 0
    assert most <= 2, "one that is about to be taken away, and the worker itself"


def zombies(pid: int) -> int:
    """The dead that nobody has waited for among a process's descendants."""
    found = 0
    for child in psutil.Process(pid).children(recursive=True):
        try:
            found += child.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.attack("1.21")
def test_an_engine_that_prints_into_a_full_temporary_folder(tmp_path: Path) -> None:
    faults = [{"at": at, "action": "much_output"} for at in ("load", "prepare", "generate")]
    model, out = make_model(tmp_path / "m", faults=faults), tmp_path / "out"
    with disk(tmp_path / "full", "64k"):
        with (tmp_path / "full" / "hog").open("wb", buffering=0) as hog:
            hog.write(bytes(2**20))
        ran = run(arguments([model], out, lengths="5"), out, TMPDIR=str(tmp_path / "full"))
    assert ran.status == 0
    assert [record.outcome for record in ran.records] == [Outcome.OK]
    (model / "fake.json").write_text(json.dumps({"faults": [*faults, {"at": "generate", "action": "exit_3"}]}))
    failed = run(arguments([model], out, "--retry", "all", lengths="5"), out)
    (cause,) = (record.cause for record in failed.records if record.cause)
    assert cause.last_lines[-1] == "line 99999 of much output"
    assert len(cause.last_lines) == 50


@pytest.mark.attack("1.35")
def test_series_of_signals(tmp_path: Path) -> None:
    counts = at_random(tmp_path, seed=7, series=12)
    assert {name: count for name, count in counts.items() if count} == {
        "series": 12, "stopped": counts["stopped"], **({"too late": late} if (late := counts["too late"]) else {})
    }  # fmt: skip
    assert counts["stopped"] >= 6
