"""Sweeps of real worker processes of the fake engine, and what is left of them afterwards."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speed_benchmark.models.synthetic import synthesize
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import DamagedRecordError, Store
from speed_benchmark.worker.orphans import VARIABLE

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "max_position_embeddings": 32768,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 64,
}


def make_model(folder: Path, **script: Any) -> Path:
    """A model folder that the fake engine runs as `script` says."""
    synthesize(CONFIG, {}, folder)
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
