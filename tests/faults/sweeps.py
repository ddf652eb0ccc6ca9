"""Sweeps of real worker processes of the fake engine, and what is left of them afterwards."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from speed_benchmark.models.synthetic import synthesize
from speed_benchmark.record.format import DamagedRecordError
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from speed_benchmark.worker.orphans import VARIABLE
from tests.shapes import TINY


@cache
def _checkpoint() -> Path:
    """What all the models are copies of; it goes with this process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return synthesize(TINY, {}, folder / "model")


def make_model(folder: Path, **script: Any) -> Path:
    """A model folder that the fake engine runs as `script` says."""
    shutil.copytree(_checkpoint(), folder)
    (folder / "fake.json").write_text(json.dumps(script))
    return folder


def arguments(models: list[Path], out: Path, *more: object, lengths: str = "5,6") -> list[str]:
    """`speed-benchmark run` over `models` and `lengths`."""
    return [
        *("run", "--engine", "fake", "--model_id_or_path", ",".join(map(str, models)), "--context_length", lengths),
        *("--generate_length", "4", "--repeats", "2", "--outputs_dir", str(out), *map(str, more)),
    ]


@dataclass
class Ran:
    """A finished command, how long it took, and what it stored."""

    status: int
    stderr: str
    seconds: float
    records: list[Record] = field(default_factory=list)
    damaged: list[DamagedRecordError] = field(default_factory=list)

    def of(self, model: Path) -> list[Record]:
        return [record for record in self.records if record.cell.model.model_id_or_path == str(model)]


def run(command: list[str], out: Path, timeout_s: float = 60, **environment: str) -> Ran:
    """Run the command line to its end."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "speed_benchmark", *command],
        env=os.environ | environment,
        cwd=out.parent,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return stored(Ran(done.returncode, done.stderr, time.monotonic() - started), out)


def stored(ran: Ran, out: Path) -> Ran:
    for _, record in Store(out).records():
        if isinstance(record, Record):
            ran.records.append(record)
        else:
            ran.damaged.append(record)
    return ran


def processes_left(folder: Path, within_s: float = 5.0) -> list[int]:
    """Workers and what they started, of sweeps below `folder`, that are still there after a while."""
    give_up = time.monotonic() + within_s
    while (found := _workers(folder)) and time.monotonic() < give_up:
        time.sleep(0.05)
    return found


def _workers(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            if VARIABLE.encode() in environment and (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found
