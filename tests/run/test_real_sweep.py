"""A sweep over both real engines on the CPU, killed, interrupted and gone on with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import FIRST_TOKENS
from speed_benchmark.record.store import Store
from tests.faults.sweeps import processes_left
from tests.shapes import TINY

pytestmark = pytest.mark.engine

pytest.importorskip("vllm")

SUITE = """
engine = ["transformers", "vllm"]
context_length = "1-64*8"
generate_length = 64
repeats = 2
sampling = "greedy"
dtype = "float32"
max_model_len = 256
enforce_eager = true
"""
CELLS = 2 * 3


def records(out: Path) -> dict[str, Record]:
    """The records that are there, by their id; none may be damaged."""
    found = [record for _, record in Store(out).records()]
    assert all(isinstance(record, Record) for record in found)
    return {record.record_id: record for record in found if isinstance(record, Record)}


def ok(out: Path, engine: str) -> int:
    return sum(r.outcome is Outcome.OK and r.cell.settings.engine == engine for r in records(out).values())


def sweep_until(tmp_path: Path, engine: str, number: signal.Signals) -> int:
    """Run the suite until a record of `engine` is stored, send `number`, and return the exit status."""
    process = start(tmp_path)
    give_up = time.monotonic() + 200
    while not ok(tmp_path / "out", engine):
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(process.pid, number)
    status = process.wait(60)
    assert processes_left(tmp_path) == []
    return status


def start(tmp_path: Path) -> subprocess.Popen[bytes]:
    command = ["run", "suite.toml", "--model_id_or_path", "model", "--outputs_dir", "out"]
    return subprocess.Popen([sys.executable, "-m", "speed_benchmark", *command], cwd=tmp_path)


def test_both_engines_killed_interrupted_and_resumed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    torch.manual_seed(0)
    config = AutoConfig.for_model(**TINY | {"initializer_range": 0.3})  # so large that greedy output varies
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path / "model")
    (tmp_path / "suite.toml").write_text(SUITE)
    assert sweep_until(tmp_path, "transformers", signal.SIGKILL) == -signal.SIGKILL
    killed = records(out)
    assert 1 <= len(killed) < CELLS
    assert sweep_until(tmp_path, "vllm", signal.SIGINT) == 130
    interrupted = records(out)
    assert killed.items() <= interrupted.items(), "nothing is lost, nothing is measured again"
    assert ok(out, "transformers") == CELLS // 2
    assert 1 <= ok(out, "vllm") < CELLS // 2
    assert start(tmp_path).wait(200) == 0
    whole = records(out)
    assert interrupted.items() <= whole.items()
    assert ok(out, "transformers") == ok(out, "vllm") == CELLS // 2
    assert len({record.cell_id for record in whole.values()}) == CELLS
    assert processes_left(tmp_path) == []
    for record in whole.values():
        if record.cell.settings.engine == "vllm" and record.outcome is Outcome.OK:
            assert record.agreement
            assert (record.agreement.compared, record.agreement.agreed) == (FIRST_TOKENS, FIRST_TOKENS)
            assert len(set(record.samples[0].sequences[0].first_token_ids)) > FIRST_TOKENS // 4
            assert whole[record.agreement.record_id].cell.workload == record.cell.workload
