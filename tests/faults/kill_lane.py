"""A program: sweeps on the fake engine that are killed, gone on with, and counted. Prints its counts as JSON.

    kill_lane.py random FOLDER SEED KILLS       SIGKILL of the parent, or of parent and worker, at random moments
    kill_lane.py operations FOLDER LANE LANES   SIGKILL of the parent at each file operation of the store

Each sweep is a child forked from here, so that a hundred of them need not import everything a hundred times.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed_benchmark.cli import measure
from speed_benchmark.record import store
from speed_benchmark.record.record import Record
from tests.faults.file_operations import Watched
from tests.faults.sweeps import arguments, make_model, processes_left

LENGTHS = "5,6,7"
KILLS_A_FOLDER = 10


class Sweep:
    """One sweep in a folder of its own, as often as it takes."""

    def __init__(self, folder: Path, models: int) -> None:
        self.folder, self.out = folder, folder / "out"
        self.models = [make_model(folder / f"m{number}", real_token_s=0.005) for number in range(models)]
        self.cells = len(self.models) * len(LENGTHS.split(","))
        self.seen: set[str] = set()

    def start(self, before: Callable[[], None] = lambda: None) -> int:
        """The process id of a new run of the same command; `before` is called in it."""
        child = os.fork()
        if child == 0:
            status = 99
            try:
                os.chdir(self.folder)
                log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                before()
                status = measure("fake", **given(self.models, self.out))
            finally:
                os._exit(status)
        return child

    def look(self, counts: Counter[str]) -> None:
        """Count what is not as it should be after a kill."""
        for process in processes_left(self.folder):
            counts["processes left"] += 1
            os.kill(process, signal.SIGKILL)
        found = list(store.Store(self.out).records())
        counts["unreadable"] += sum(not isinstance(record, Record) for _, record in found)
        ids = {record.record_id for _, record in found if isinstance(record, Record)}
        counts["lost"] += len(self.seen - ids)
        self.seen |= ids

    def finish(self, counts: Counter[str]) -> None:
        """Let it run to its end, and count what is missing or there twice."""
        _, status = os.waitpid(self.start(), 0)
        counts["not finished"] += status != 0
        self.look(counts)
        cells = Counter(record.cell_id for _, record in store.Store(self.out).records() if isinstance(record, Record))
        counts["run twice"] += sum(count - 1 for count in cells.values())
        counts["missing"] += self.cells - len(cells)
        counts["missing rows"] += self.cells - len(list(self.out.glob("*.csv")))


def given(models: list[Path], out: Path) -> dict[str, Any]:
    """The flags of the command line of `arguments`, as the command gets them."""
    flags = arguments(models, out, lengths=LENGTHS)[1:]
    names = {flag.removeprefix("--"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
    return {name: value for name, value in names.items() if name != "engine"}


def at_random(folder: Path, seed: int, kills: int) -> Counter[str]:
    """Kill sweeps of two loads at moments anywhere in them; one in ten together with its worker."""
    dice, counts, number = random.Random(seed), Counter[str](), 0  # noqa: S311 - no secret
    longest_s = 2.0
    while counts["kills"] < kills:
        sweep = Sweep(folder / str(number), models=2)
        number += 1
        for _ in range(KILLS_A_FOLDER):
            started = time.monotonic()
            child = sweep.start()
            time.sleep(dice.uniform(0, longest_s))
            if os.waitpid(child, os.WNOHANG)[0]:
                longest_s = time.monotonic() - started
                break
            if dice.random() < 0.1:
                for worker in Path(f"/proc/{child}/task/{child}/children").read_text().split():
                    os.kill(int(worker), signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            counts["kills"] += 1
            sweep.look(counts)
        sweep.finish(counts)
    return counts


def at_each_operation(folder: Path, lane: int, lanes: int) -> Counter[str]:
    """Kill a sweep of one load before each file operation of the store, and in the middle of each write."""
    counts, number = Counter[str](), lane
    while True:
        sweep = Sweep(folder / str(number), models=1)

        def die_at(last: int = number) -> None:
            Watched(lambda done: os.kill(os.getpid(), signal.SIGKILL) if done == last else None).install()

        _, status = os.waitpid(sweep.start(die_at), 0)
        if not os.WIFSIGNALED(status):
            return counts  # that many operations there are not
        counts["kills"] += 1
        sweep.look(counts)
        sweep.finish(counts)
        number += lanes


if __name__ == "__main__":
    kind, where, first, second = sys.argv[1:]
    do = {"random": at_random, "operations": at_each_operation}[kind]
    print(json.dumps(do(Path(where), int(first), int(second))))  # noqa: T201
