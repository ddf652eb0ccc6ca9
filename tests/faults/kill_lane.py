"""A program: sweeps on the fake engine that are killed, gone on with, and counted. Prints its counts as JSON.

    kill_lane.py random FOLDER SEED KILLS       SIGKILL of the parent, or of parent and worker, at random moments
    kill_lane.py operations FOLDER LANE LANES   SIGKILL of the parent at each file operation of the store
    kill_lane.py parts FOLDER LANE LANES        the same for a cell of two processes

Each sweep is a child forked from here, so that a hundred of them need not import everything a hundred times.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed_benchmark.cli import run_cells
from speed_benchmark.errors import UserError
from speed_benchmark.record.format import parse
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from speed_benchmark.run import original
from speed_benchmark.run.unfinished import FOLDER
from tests.faults.file_operations import Watched
from tests.faults.sweeps import arguments, make_model, processes_left

LENGTHS = "5,6,7"
KILLS_A_FOLDER = 10


class Sweep:
    """One sweep in a folder of its own, as often as it takes. `parts` are what was found finished after kills."""

    def __init__(self, folder: Path, models: int, lengths: str = LENGTHS, processes: int = 1) -> None:
        self.folder, self.out, self.lengths, self.processes = folder, folder / "out", lengths, processes
        self.models = [make_model(folder / f"m{number}", real_token_s=0.005) for number in range(models)]
        self.cells = len(self.models) * len(lengths.split(","))
        self.seen: set[str] = set()
        self.parts: list[Record] = []

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
                original.row = row
                before()
                status = run_cells(**self._given())
            except UserError as error:
                print(error, file=sys.stderr)  # noqa: T201 - as the command does
                status = 2
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        return child

    def look(self, counts: Counter[str]) -> None:
        """Count what is not as it should be after a kill."""
        for process in processes_left(self.folder):
            counts["processes left"] += 1
            os.kill(process, signal.SIGKILL)
        found = list(Store(self.out).records())
        counts["unreadable"] += sum(not isinstance(record, Record) for _, record in found)
        ids = {record.record_id for _, record in found if isinstance(record, Record)}
        counts["lost"] += len(self.seen - ids)
        self.seen |= ids
        self.parts += [parse(path.read_bytes()) for path in self.out.glob(f"{FOLDER}/*/*.part")]

    def finish(self, counts: Counter[str]) -> None:
        """Let it run to its end, and count what is missing or there twice."""
        _, status = os.waitpid(self.start(), 0)
        counts["not finished"] += status != 0
        self.look(counts)
        records = [record for _, record in Store(self.out).records() if isinstance(record, Record)]
        cells = Counter(record.cell_id for record in records if record.outcome is Outcome.OK)
        counts["run twice"] += sum(count - 1 for count in cells.values())
        counts["missing"] += self.cells - len(cells)
        counts["missing rows"] += len(records) - len(list(self.out.glob("*.csv")))
        counts["lost"] += sum(not any(_holds(record, part) for record in records) for part in self.parts)
        counts["parts"] += len(self.parts)

    def _given(self) -> dict[str, Any]:
        """The flags of the command line of `arguments`, as the command gets them."""
        flags = arguments(self.models, self.out, "--processes", self.processes, lengths=self.lengths)[1:]
        return {flag.removeprefix("--"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)}


def _holds(record: Record, part: Record) -> bool:
    """Whether all samples of `part` are in `record`."""
    return record.cell_id == part.cell_id and record.samples[: len(part.samples)] == part.samples


def row(record: Record) -> dict[str, object]:
    """A row beside each record: the fake engine has none of its own."""
    return {"input": record.cell.workload.context_length}


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


def at_each_operation(folder: Path, lane: int, lanes: int, **sweep_of: Any) -> Counter[str]:
    """Kill a sweep of one load before each file operation of the store, and in the middle of each write."""
    counts, number = Counter[str](), lane
    while True:
        sweep = Sweep(folder / str(number), models=1, **sweep_of)

        def die_at(last: int = number) -> None:
            Watched(lambda done: os.kill(os.getpid(), signal.SIGKILL) if done == last else None).install()

        _, status = os.waitpid(sweep.start(die_at), 0)
        if not os.WIFSIGNALED(status):
            return counts  # that many operations there are not
        counts["kills"] += 1
        sweep.look(counts)
        sweep.finish(counts)
        number += lanes


def at_each_operation_on_parts(folder: Path, lane: int, lanes: int) -> Counter[str]:
    """The same for a cell of two processes, of which the first leaves a part."""
    return at_each_operation(folder, lane, lanes, lengths="5", processes=2)


if __name__ == "__main__":
    kind, where, first, second = sys.argv[1:]
    lanes: dict[str, Callable[[Path, int, int], Counter[str]]] = {
        "random": at_random,
        "operations": at_each_operation,
        "parts": at_each_operation_on_parts,
    }
    print(json.dumps(lanes[kind](Path(where), int(first), int(second))))  # noqa: T201
