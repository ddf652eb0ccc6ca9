"""What a long run costs its parent: memory, descriptors, threads and time a cell, from the first cell to the last.

Cells of the fake engine, greedy and with one load, in a folder that holds records already. Prints a line every 100
cells. Exits 1 where from cell 200 on memory grows by more than 10 MB or a descriptor or thread is added, where the
last 200 cells take half as long again as those from 200 to 400, or where a cell's lines in the log get longer.

usage: long_run.py [CELLS] [--stored N] [--generate_length N]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import psutil

from benchmarks.store_scale import asked, fill, run
from speed_benchmark.record.folder import read
from tests.faults.sweeps import make_model

EVERY, SETTLED = 100, 200
MOST_BYTES, MOST_SLOWER, MOST_LOG = 10 * 10**6, 1.5, 1.2
# Seeds from here on belong to no stored record.
FIRST_SEED = 1_000_000


@dataclass(frozen=True)
class Reading:
    """The parent after so many cells, and what its log has by then."""

    cells: int
    at_s: float
    resident_bytes: int
    descriptors: int
    threads: int
    log_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.cells:6} cells  {self.at_s:7.1f} s  {self.resident_bytes / 1e6:6.1f} MB  "
            f"{self.descriptors:3} descriptors  {self.threads:2} threads  log {self.log_bytes / 1000:.0f} kB"
        )


def readings(command: list[str]) -> Iterator[Reading]:
    """What is read of the parent of a run after each EVERY cells."""
    started, cells, log_bytes = time.monotonic(), 0, 0
    with Popen([sys.executable, "-m", "speed_benchmark", *command], stdout=PIPE, stderr=STDOUT) as process:
        assert process.stdout is not None
        parent = psutil.Process(process.pid)
        for line in process.stdout:
            is_stored = b" stored: " in line
            log_bytes, cells = log_bytes + len(line), cells + is_stored
            if is_stored and cells % EVERY == 0:
                seen = parent.memory_info().rss, parent.num_fds(), parent.num_threads()
                yield Reading(cells, time.monotonic() - started, *seen, log_bytes)
    assert process.returncode == 0, f"the run ended in {process.returncode} after {cells} cells"


def grows(seen: list[Reading]) -> Iterator[str]:
    """What grew from the time on that everything is settled."""
    settled = [one for one in seen if one.cells >= SETTLED]
    first, last = settled[0], settled[-1]
    grown = max(one.resident_bytes for one in settled) - first.resident_bytes
    print(f"memory from cell {first.cells} on: {grown / 1e6:+.1f} MB")
    if grown > MOST_BYTES:
        yield "memory"
    if (last.descriptors, last.threads) > (first.descriptors, first.threads):
        yield "descriptors or threads"
    steps = SETTLED // EVERY
    slower = (last.at_s - settled[-1 - steps].at_s) / (settled[steps].at_s - first.at_s)
    longer = (last.log_bytes - settled[-1 - steps].log_bytes) / (settled[steps].log_bytes - first.log_bytes)
    print(f"the last {SETTLED} cells to those from {SETTLED} on: time x {slower:.2f}, log x {longer:.2f}")
    if slower > MOST_SLOWER:
        yield "time a cell"
    if longer > MOST_LOG:
        yield "the log"


def main() -> int:
    """Fill the store, run, read, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="?", type=int, default=2000)
    parser.add_argument("--stored", type=int, default=10_000)
    parser.add_argument("--generate_length", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model, out = make_model(Path(name) / "model"), Path(name) / "out"
        _, _, status = run(*asked(model, out, "1", given.generate_length))
        assert status == 0, "the fake engine failed"
        fill(out, read(next(out.glob("*.json"))), given.stored)
        seeds = f"{FIRST_SEED}-{FIRST_SEED + given.cells - 1}"
        command = asked(model, out, seeds, given.generate_length)
        command.remove("--quiet")
        seen = []
        for reading in readings([*command, "--sampling", "greedy"]):
            print(reading, flush=True)
            seen.append(reading)
    bad = list(grows(seen))
    print(f"GROWS: {', '.join(bad)}" if bad else "ok: nothing grows")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
