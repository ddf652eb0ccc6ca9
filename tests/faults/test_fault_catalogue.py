"""Faults, each injected into a sweep of real worker processes, and what has to come of each.

Whatever happens to one model, those after it are measured, and the sound one at the end is; the command ends by itself
with status 1, nothing stored is damaged, and no process is left.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Verdict
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from tests.faults.sweeps import Ran, arguments, make_model, processes_left, run
from tests.faults.tallies import Tally

pytestmark = pytest.mark.engine

LIMITS = ("--load_limit_s", "3", "--first_token_limit_s", "3", "--token_limit_s", "2", "--close_limit_s", "2")
SWEEPS = 4
STAGES: dict[str, dict[str, Any]] = {
    "load": {"at": "load"},
    "warm-up": {"at": "generate", "request": 0},
    "repeat": {"at": "generate", "request": 1},
}


@dataclass(frozen=True)
class Fault:
    """`script` for the fake engine, and the outcomes that the two cells of its model must have.

    `invalid` says which of them must be judged invalid though they ran to their end.
    """

    name: str
    script: dict[str, Any]
    outcomes: tuple[Outcome, ...]
    says: str = ""
    stage: str | None = None
    invalid: tuple[bool, ...] = (False, False)


def fault(action: str, **where: Any) -> dict[str, Any]:
    return {"faults": [{"action": action, **where}]}


def both(in_load: str, in_repeat: str) -> dict[str, Any]:
    return {"faults": [{"action": in_load, "at": "load"}, {"action": in_repeat, **STAGES["repeat"]}]}


def deaths() -> Iterator[Fault]:
    """In the load both cells fail; in a request its own cell does, and the other one starts clean and meets it too."""
    says = {
        "sigkill": "killed by SIGKILL",
        "sigsegv": "killed by SIGSEGV",
        "exit_3": "exit status 3",
        "exit_0": "exit status 0",
    }
    for action, text in says.items():
        for stage, where in STAGES.items():
            names = {"load": "load", "warm-up": "warmup", "repeat": "repeat"}
            yield Fault(f"{action} in {stage}", fault(action, **where), (Outcome.CRASHED,) * 2, text, names[stage])


REPEAT = STAGES["repeat"]
OK, CRASHED, TIMEOUT = Outcome.OK, Outcome.CRASHED, Outcome.TIMEOUT
OOM, SKIPPED = Outcome.OOM, Outcome.SKIPPED
FIRST, BOTH = (True, False), (True, True)
FAULTS = [
    *deaths(),
    Fault("abort in a repeat", fault("sigabrt", **REPEAT), (CRASHED,) * 2, "SIGABRT", "repeat"),
    Fault("sys.exit in a repeat", fault("system_exit", **REPEAT), (CRASHED,) * 2, "SystemExit", "repeat"),
    Fault("KeyboardInterrupt in a repeat", fault("interrupt", **REPEAT), (CRASHED,) * 2, "KeyboardInterrupt", "repeat"),
    Fault("exception in a repeat", fault("error", **REPEAT), (CRASHED,) * 2, "RuntimeError", "repeat"),
    Fault("unsupported in load", fault("unsupported", at="load"), (Outcome.UNSUPPORTED,) * 2, "not support", "load"),
    Fault("crash in close", fault("sigsegv", at="close"), (OK, OK)),
    Fault("exception in close", fault("error", at="close"), (OK, OK)),
    # hangs
    Fault("hang in load", fault("hang", at="load"), (TIMEOUT,) * 2, "nothing came for 3 s", "load"),
    Fault("hang before the first token", fault("hang", **STAGES["warm-up"]), (TIMEOUT,) * 2, "3 s", "warmup"),
    Fault("hang in decoding", {"real_token_s": 30.0}, (TIMEOUT,) * 2, "nothing came", "warmup"),
    Fault("stopped in a repeat", fault("sigstop", **REPEAT), (TIMEOUT,) * 2, "nothing came", "repeat"),
    Fault("hang in a grandchild", fault("hang_grandchild", **REPEAT), (TIMEOUT,) * 2, "nothing came", "repeat"),
    Fault("hang in a daemon", fault("hang_in_daemon", at="load"), (TIMEOUT,) * 2, "nothing came", "load"),
    Fault("hang in close", fault("hang", at="close"), (OK, OK)),
    Fault("hang of a grandchild in close", fault("hang_grandchild", at="close"), (OK, OK)),
    Fault("a daemon left behind", fault("leave_daemon", at="load"), (OK, OK)),
    Fault("a daemon left behind by a crash", both("leave_daemon", "sigkill"), (CRASHED,) * 2, "SIGKILL"),
    # memory
    Fault("engine out of memory in load", fault("oom", at="load"), (OOM,) * 2, "is full", "load"),
    Fault("engine out of memory in a repeat", fault("oom", **REPEAT), (OOM, SKIPPED), "is full", "repeat"),
    Fault("MemoryError", fault("memory_error", **REPEAT), (OOM, SKIPPED), "MemoryError", "repeat"),
    Fault("out of memory at the longer length", {"room_tokens": 9}, (OK, OOM), "room for 9"),
    # results that are wrong
    Fault("fewer tokens", fault("fewer_tokens", **REPEAT), (OK, OK), invalid=FIRST),
    Fault("more tokens", fault("more_tokens", **REPEAT), (OK, OK), invalid=FIRST),
    Fault("zero tokens", fault("no_tokens", **REPEAT), (OK, OK), invalid=FIRST),
    Fault("early end", fault("early_end", **REPEAT), (OK, OK), invalid=FIRST),
    Fault("times that go back", fault("backward_times", **REPEAT), (OK, OK), invalid=FIRST),
    Fault("a cached prompt", fault("cached_prompt", **REPEAT), (OK, OK), invalid=FIRST),
    Fault("weights in another format", {"quantization": "GPTQ-Int4"}, (OK, OK), invalid=BOTH),
    # the pipe
    Fault("garbage on the pipe", fault("garbage", **REPEAT), (CRASHED,) * 2, "garbage", "repeat"),
    Fault("garbage in load", fault("garbage", at="load"), (CRASHED,) * 2, "garbage", "load"),
    Fault("half a line, then the end", fault("half_line", **REPEAT), (CRASHED,) * 2, "exit status 0", "repeat"),
    Fault("an event nobody knows", fault("unknown_event", **REPEAT), (CRASHED,) * 2, "garbage", "repeat"),
    Fault("a result of another cell", fault("wrong_cell", **REPEAT), (CRASHED,) * 2, "out of turn", "repeat"),
    Fault("the pipe closed", fault("close_pipe", **REPEAT), (CRASHED,) * 2, "", "repeat"),
    Fault("a cell's end sent twice", fault("twice", **REPEAT), (OK, CRASHED), "out of turn", invalid=FIRST),
    Fault("a sample sent twice", fault("sample_twice", **REPEAT), (OK, OK), invalid=FIRST),
    Fault("much output, then a crash", both("much_output", "exit_3"), (CRASHED,) * 2, "exit status 3"),
]


@pytest.fixture(scope="module")
def sweep_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Fault], tuple[Ran, Path, Path]]]:
    """The sweep that a fault is in, its model, and the sound one; some sweeps at once, for most of it is waiting."""
    futures: list[Future[Ran]] = []
    folders: list[Path] = []
    with ThreadPoolExecutor(SWEEPS) as threads:
        for number in range(SWEEPS):
            folder = tmp_path_factory.mktemp("faults")
            names = [one for one in range(len(FAULTS)) if one % SWEEPS == number]
            models = [make_model(folder / str(one), **FAULTS[one].script) for one in names]
            command = arguments([*models, make_model(folder / "sound")], folder / "out", *LIMITS)
            futures.append(threads.submit(run, command, folder / "out", 280))
            folders.append(folder)

        def result(one: Fault) -> tuple[Ran, Path, Path]:
            index = FAULTS.index(one)
            folder = folders[index % SWEEPS]
            return futures[index % SWEEPS].result(), folder / str(index), folder / "sound"

        yield result


@pytest.mark.parametrize("injected", FAULTS, ids=lambda one: one.name.replace(" ", "_"))
def test_fault_is_met(injected: Fault, sweep_of: Callable[[Fault], tuple[Ran, Path, Path]], tally: Tally) -> None:
    with tally("faults"):
        ran, faulty, sound = sweep_of(injected)
        assert ran.status == 1
        assert "Traceback" not in ran.stderr
        assert not ran.damaged
        assert [record.outcome for record in ran.of(sound)] == [OK, OK], "the sweep goes on, and the end of it is clean"
        assert processes_left(faulty.parent) == []
        records = sorted(ran.of(faulty), key=lambda record: record.cell.workload.context_length)
        assert tuple(record.outcome for record in records) == injected.outcomes
        invalid = [record.outcome is OK and judge(record).verdict is Verdict.INVALID for record in records]
        assert tuple(invalid) == injected.invalid
        for record in records:
            check_cause(record, injected)


def check_cause(record: Record, injected: Fault) -> None:
    if record.outcome is OK:
        assert record.cause is None
        return
    assert record.cause is not None
    if record.outcome is Outcome.SKIPPED:
        assert record.cause.kind == "after_shorter"
        return
    assert injected.says in record.cause.message
    assert injected.stage is None or record.cause.stage == injected.stage
    assert len(record.cause.last_lines) <= 50
    if record.outcome is TIMEOUT:  # a worker's start and the longest limit, 3 s, are in it too
        assert record.machine_after.unix_s - record.machine_before.unix_s < 3 + 5
