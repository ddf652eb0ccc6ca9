"""Does any series of signals end a sweep in one line, with nothing lost?

Sends four to eight of SIGINT, SIGTERM and SIGHUP, at once or apart, to sweeps of the fake engine or to all of their
processes, at any moment from their first import to their exit; each sweep goes on with what the one before has left.
Counts what is not as it should be, and exits 1 where there is anything.

usage: python -m benchmarks.signals [SERIES] [SEED]
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.run.unfinished import FOLDER
from tests.faults.sweeps import Ran, arguments, make_model, processes_left, run, stored
from tests.run.signals import send, start, tree

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FOLDER_SERIES = 10
HANG_S = 60.0
LENGTHS, CELLS, PROCESSES = "5,6,7", 3, ("--processes", 2)
SCRIPT = {"real_token_s": 0.02}
# What is counted that is no defect.
COUNTS = ("series", "stopped", "too late")


def main() -> int:
    """Send them, print the counts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and so would sweeps
    series, seed = (int(text) for text in (*sys.argv[1:], *("100", "0")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        counts = at_random(Path(folder), seed, series)
    print(dict(counts))
    return int(any(count for name, count in counts.items() if name not in COUNTS))


def at_random(folder: Path, seed: int, series: int) -> Counter[str]:
    """So many series, some in a folder until all is measured there; the last sweep in it is left alone to finish.

    How long a sweep takes here says when a signal can come.
    """
    dice, counts = random.Random(seed), Counter[str]()  # noqa: S311 - no secret
    whole = folder / "whole"
    longest_s = run(_command(make_model(whole / "m", **SCRIPT), whole / "out"), whole / "out").seconds
    while counts["series"] < series:
        here = folder / str(counts["series"])
        model, out = make_model(here / "m", **SCRIPT), here / "out"
        for _ in range(min(FOLDER_SERIES, series - counts["series"])):
            counts["series"] += 1
            if _one(dice, longest_s, model, out, counts) == 0:
                break
        _finish(model, out, counts)
    return counts


def _one(dice: random.Random, longest_s: float, model: Path, out: Path, counts: Counter[str]) -> int:
    """One series, to a sweep that is new or goes on; returns its exit status."""
    before = _records(out, counts)
    process = start([model], out, *PROCESSES, lengths=LENGTHS, stdin=subprocess.DEVNULL)
    _wait_until_it_listens(process.pid)
    time.sleep(dice.uniform(0, dice.choice((0.5, longest_s, longest_s))))
    everybody, apart_s = dice.random() < 0.3, dice.choice((0.0, 0.001, 0.05, 0.3))
    for number in dice.choices(SIGNALS, k=dice.randint(4, 8)):
        send(number, dice.sample(pids := tree(process.pid), len(pids)) if everybody else [process.pid])
        time.sleep(apart_s)
    try:
        _, log = process.communicate(timeout=HANG_S)
    except subprocess.TimeoutExpired:
        counts["hangs"] += 1
        process.kill()
        _, log = process.communicate()
    _look(process.returncode, log, before, out, counts)
    return process.returncode


def _look(status: int, log: str, before: dict[str, Record], out: Path, counts: Counter[str]) -> None:
    """Count what is not as it should be after one series."""
    counts["stopped" if status == 130 else "too late" if status == 0 else "other status"] += 1
    counts["tracebacks"] += "Traceback" in log or "Exception ignored" in log
    said = sum(line.startswith("interrupted") for line in log.splitlines())
    counts["not one line"] += said != (status == 130)
    after = _records(out, counts)
    new = [record for record_id, record in after.items() if record_id not in before]
    counts["lost"] += len(before.keys() - after.keys()) + max(0, _heard(log) - sum(len(r.samples) for r in new))
    counts["lost"] += len(list(out.glob(f"{FOLDER}/*/*.part")))
    counts["failed"] += sum(record.outcome not in (Outcome.OK, Outcome.INTERRUPTED) for record in new)
    for pid in processes_left(out.parent):
        counts["processes left"] += 1
        os.kill(pid, signal.SIGKILL)


def _finish(model: Path, out: Path, counts: Counter[str]) -> None:
    """The same command goes on with what is missing."""
    ran = run(_command(model, out), out)
    good = Counter(record.cell_id for record in ran.records if record.outcome is Outcome.OK)
    counts["not finished"] += ran.status != 0 or len(good) != CELLS
    counts["run twice"] += sum(count - 1 for count in good.values())


def _command(model: Path, out: Path) -> list[str]:
    return arguments([model], out, *PROCESSES, lengths=LENGTHS)


def _records(out: Path, counts: Counter[str]) -> dict[str, Record]:
    """The records that are there by their ids; none before a sweep got so far as to make their folder."""
    found = stored(Ran(0, "", 0.0), out) if out.exists() else Ran(0, "", 0.0)
    counts["damaged"] += len(found.damaged)
    return {record.record_id: record for record in found.records}


def _heard(log: str) -> int:
    """The repeats that had ended, by the log."""
    return sum("repeat" in line and "tokens/s in" in line for line in log.splitlines())


def _wait_until_it_listens(pid: int) -> None:
    """Until it has taken the signals that ask it to stop: what comes before is the interpreter's to answer."""
    mask = sum(1 << number - 1 for number in SIGNALS)
    give_up = time.monotonic() + HANG_S
    while time.monotonic() < give_up:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught, 16) & mask == mask:
            return


if __name__ == "__main__":
    sys.exit(main())
