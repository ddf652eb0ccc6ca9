"""What a large store costs: `run` with nothing to do, `report` and `verify` over many records of real size.

One cell is measured with the fake engine (three repeats of 2048 tokens, about 110 kB); copies of its record with other
seeds are the others. Prints seconds and peak memory of each verb at each size, and how they grow; exits 1 where a verb
takes more than 20 s or 1 GiB at 10,000 records, or more than linear time.

usage: store_scale.py [RECORDS …]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from speed_benchmark.judge.judge import judge
from speed_benchmark.models.synthetic import synthesize
from speed_benchmark.record.folder import read
from speed_benchmark.record.format import seal, serialize
from speed_benchmark.record.record import Record
from tests.shapes import GENERATION, TINY

LIMIT_S, LIMIT_BYTES, LIMIT_RECORDS = 20.0, 2**30, 10_000
# Time a record may grow by so much from the smallest store to the largest: start-up is shared by more of them, and
# noise is not.
GROWTH = 1.5


def run(*arguments: str) -> tuple[float, int, int]:
    """Seconds, peak memory in bytes and exit status of a command of the tool."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "speed_benchmark", *arguments]
    with Path(os.devnull).open("w") as nowhere:
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)]
        child = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    return time.perf_counter() - start, usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)


def asked(model: Path, out: Path, seeds: str, generate_length: int = 2048) -> list[str]:
    """The arguments of `run` for cells with these seeds."""
    return [
        *("run", "--engine", "fake", "--model_id_or_path", str(model), "--context_length", "128", "--quiet"),
        *("--generate_length", str(generate_length), "--seed", seeds, "--outputs_dir", str(out)),
    ]


def copy(record: Record, seed: int) -> Record:
    """The record of the cell with another seed."""
    cell = replace(record.cell, workload=replace(record.cell.workload, seed=seed))
    return seal(record.model_copy(update={"cell": cell, "cell_id": cell.cell_id}))


def fill(folder: Path, first: Record, count: int) -> int:
    """Make the store hold `count` records, and return the bytes of one."""
    told = judge(first).model_dump(mode="json")
    for seed in range(2, count + 1):
        file = folder / f"copy-{seed}_{seed:08d}.json"
        if not file.exists():
            file.write_bytes(serialize(copy(first, seed), told))
            file.with_name(f"copy-{seed}.csv").touch()
    return len(serialize(first, told))


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("records", nargs="*", type=int, default=[1000, 3000, 10_000])
    sizes = sorted(parser.parse_args().records)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        model, out = synthesize(TINY, GENERATION, Path(name) / "model"), Path(name) / "out"
        (model / "fake.json").write_text(json.dumps({"prefill_s": 0.1, "token_s": 0.0101234567}))
        _, _, status = run(*asked(model, out, "1"))
        assert status == 0, "the fake engine failed"
        first = read(next(out.glob("*.json")))
        each_s: dict[str, list[float]] = {}
        for size in sizes:
            length = fill(out, first, size)
            verbs = {
                "run": asked(model, out, f"1-{size}"),
                "report": ["report", str(out), "--format", "csv"],
                "verify": ["verify", str(out)],
            }
            for verb, arguments in verbs.items():
                seconds, peak, status = run(*arguments)
                each_s.setdefault(verb, []).append(seconds / size)
                over = size <= LIMIT_RECORDS and (seconds > LIMIT_S or peak > LIMIT_BYTES)
                failed |= over or status != 0
                print(
                    f"{size:6} records of {length / 1000:.0f} kB  {verb:7} {seconds:6.1f} s  {peak / 2**20:6.0f} MiB"
                    f"  exit {status}{'  OVER' if over else ''}",
                    flush=True,
                )
    for verb, values in each_s.items():
        growth = values[-1] / values[0]
        failed |= growth > GROWTH
        print(f"{verb}: {values[0] * 1000:.2f} to {values[-1] * 1000:.2f} ms a record, x {growth:.2f}")
    print("FAILED" if failed else "ok: within 20 s and 1 GiB, and linear")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
