"""With --processes: what is finished of any cell is in a record, however the sweep ends."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from tests.faults.sweeps import Ran, arguments, make_model, processes_left, run, stored
from tests.run.signals import interrupt, start, wait_for_line, worker_of

pytestmark = pytest.mark.engine

LENGTHS = "5,6,7"
PROCESSES = ("--processes", "2")


def processes(record: Record) -> list[int]:
    """The process of each sample."""
    return [sample.process for sample in record.samples]


def by_length(ran: Ran) -> list[Record]:
    return sorted(ran.records, key=lambda record: record.cell.workload.context_length)


@pytest.mark.parametrize(
    ("number", "part"),
    [(signal.SIGINT, [0, 0, 1]), (signal.SIGTERM, [0, 0]), (signal.SIGHUP, [0, 0])],
    ids=["int", "term", "hup"],
)
def test_a_stop_in_a_later_process(tmp_path: Path, number: signal.Signals, part: list[int]) -> None:
    """It comes in the first repeat of the second process of the second cell; Ctrl-C lets that repeat end."""
    model, out = make_model(tmp_path / "m", real_token_s=0.15), tmp_path / "out"
    process = start([model], out, *PROCESSES, lengths=LENGTHS)
    ran = interrupt(process, "repeat 1 of 2: input 6", out, number, time_=2)
    assert ran.status == 130
    assert "Traceback" not in ran.stderr
    records = by_length(ran)
    assert [processes(record) for record in records] == [[0, 0, 1, 1], part, [0, 0]]
    assert [record.outcome for record in records] == [Outcome.OK, Outcome.INTERRUPTED, Outcome.INTERRUPTED]
    again = run(arguments([model], out, *PROCESSES, lengths=LENGTHS), out)
    assert again.status == 0
    assert Counter(record.outcome for record in again.records) == {Outcome.OK: 3, Outcome.INTERRUPTED: 2}


def test_a_stop_while_a_worker_closes(tmp_path: Path) -> None:
    """All requests of the first process are finished, and no cell is."""
    model, out = make_model(tmp_path / "m", faults=[{"at": "close", "action": "hang"}]), tmp_path / "out"
    ran = interrupt(start([model], out, *PROCESSES, lengths=LENGTHS), "close", out, signal.SIGINT)
    assert ran.status == 130
    assert [processes(record) for record in by_length(ran)] == [[0, 0]] * 3


@pytest.mark.parametrize("signals", [[signal.SIGHUP] * 3, [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]])
def test_many_signals_lose_nothing(tmp_path: Path, signals: list[signal.Signals]) -> None:
    """As when a terminal closes: the shell and the kernel both say so."""
    model, out = make_model(tmp_path / "m", real_token_s=0.15), tmp_path / "out"
    process = start([model], out, *PROCESSES, lengths=LENGTHS)
    wait_for_line(process, "repeat 1 of 2: input 6", 2)
    for number in signals:
        os.killpg(process.pid, number)
    process.wait(30)
    assert process.stderr is not None
    process.stderr.close()
    assert sum(len(record.samples) for record in stored(Ran(0, "", 0.0), out).records) == 4 + 2 + 2


def test_a_crash_in_a_later_process_leaves_other_cells_as_they_are(tmp_path: Path) -> None:
    """The worker is killed in the second process of the first cell; the others do not start at 0 again."""
    model, out = make_model(tmp_path / "m", real_token_s=0.1), tmp_path / "out"
    process = start([model], out, "--processes", 3, lengths=LENGTHS)
    log = wait_for_line(process, "repeat 2 of 2: input 5", 2)
    os.kill(worker_of(process.pid)[0], signal.SIGKILL)
    assert process.stderr is not None
    log += process.stderr.read()
    ran = stored(Ran(process.wait(30), log, 0.0), out)
    assert ran.status == 1
    failed, *others = by_length(ran)
    assert failed.outcome is Outcome.CRASHED
    assert processes(failed) == [0, 0, 1], "the record of the failed cell keeps its samples"
    assert [processes(record) for record in others] == [[0, 0, 1, 1, 2, 2]] * 2
    assert log.count("warmup 1 of 1: input 6") == 3
    assert processes_left(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "outcome"), [("oom", Outcome.OOM), ("hang", Outcome.TIMEOUT), ("error", Outcome.CRASHED)]
)
def test_a_failure_in_an_earlier_process_costs_the_others_nothing(tmp_path: Path, fault: str, outcome: Outcome) -> None:
    """The ninth request of the first process, a repeat of the last cell, fails; the next one has six."""
    model = make_model(tmp_path / "m", faults=[{"at": "generate", "action": fault, "request": 8}])
    out = tmp_path / "out"
    more = (*PROCESSES, "--first_token_limit_s", "1")
    ran = run(arguments([model], out, *more, lengths=LENGTHS), out)
    first, second, third = by_length(ran)
    assert [(one.outcome, processes(one)) for one in (first, second)] == [(Outcome.OK, [0, 0, 1, 1])] * 2
    assert (third.outcome, processes(third)) == (outcome, [0])


def test_the_parent_is_killed_in_a_later_process(tmp_path: Path) -> None:
    """Samples of finished processes survive: the next sweep makes records of them."""
    model, out = make_model(tmp_path / "m", real_token_s=0.15), tmp_path / "out"
    ran = interrupt(start([model], out, *PROCESSES, lengths=LENGTHS), "repeat 1 of 2: input 6", out, signal.SIGKILL,
                    time_=2)  # fmt: skip
    assert [processes(record) for record in ran.records] == [[0, 0, 1, 1]]
    again = run(arguments([model], out, *PROCESSES, lengths=LENGTHS), out)
    assert again.status == 0
    assert "2 cells" in again.stderr
    interrupted = [record for record in again.records if record.outcome is Outcome.INTERRUPTED]
    assert [processes(record) for record in interrupted] == [[0, 0]] * 2
    assert Counter(record.outcome for record in again.records) == {Outcome.OK: 3, Outcome.INTERRUPTED: 2}
    assert len(run(arguments([model], out, *PROCESSES, lengths=LENGTHS), out).records) == 5


def test_nothing_is_written_beside_records_for_single_processes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(arguments([make_model(tmp_path / "m")], out), out)
    assert not (out / ".unfinished").exists()
    run(arguments([make_model(tmp_path / "n")], out, *PROCESSES), out)
    assert [path.name for path in (out / ".unfinished").iterdir()] == [".lock"], "nothing is left of a run that ended"


def test_rounds_side_by_side_and_interrupted(tmp_path: Path) -> None:
    """The same cell in two rounds at once, on two GPUs: each has its own samples."""
    from tests.run.test_sweep import shim

    model, out = make_model(tmp_path / "m", real_token_s=0.1), tmp_path / "out"
    more = ("--rounds", "2", "--parallel", "--gpus", "auto", *PROCESSES)
    environment = shim(tmp_path, 2)
    ran = run(arguments([model], out, *more, lengths="5"), out, **environment)
    assert ran.status == 0
    assert [processes(record) for record in ran.records] == [[0, 0, 1, 1]] * 2
    assert {record.gpus for record in ran.records} == {(0,), (1,)}
