"""The verbs of the command line that plan, measure and verify: what they print, and how they end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speed_benchmark.record.machine import DevicePeaks, Gpu, Machine, MachineState
from speed_benchmark.report.inventory import Inventory, print_inventory
from speed_benchmark.report.soundness import print_verified

pytestmark = pytest.mark.engine

Command = Callable[..., subprocess.CompletedProcess[str]]
Model = Callable[..., Path]


@pytest.fixture
def fake(command: Command, fake_model: Model) -> Command:
    """Runs a verb for cells of the fake engine, from the folder of its model, with the store `out`."""
    model = fake_model()

    def run(verb: str, *more: object) -> subprocess.CompletedProcess[str]:
        asked = ("--engine", "fake", "--model_id_or_path", model, "--context_length", "5", "--generate_length", "6")
        return command(verb, *asked, "--outputs_dir", "out", *more)

    return run


def records(folder: Path) -> list[Path]:
    return sorted((folder / "out").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)


def test_json_is_the_bytes_of_the_files(fake: Command, tmp_path: Path) -> None:
    done = fake("run", "--batch_size", "1,4", "--json")
    assert done.returncode == 0
    assert done.stdout == "".join(path.read_text() for path in records(tmp_path))
    again = fake("run", "--batch_size", "1,4", "--json", "--quiet")
    assert again.stderr.startswith("stored already: 2 of 2 ")  # --quiet too replays nothing in silence
    assert again.stdout == done.stdout, "what is stored answers"
    assert len(records(tmp_path)) == 2


@pytest.mark.parametrize(
    ("script", "more", "status"),
    [
        ({}, (), 0),
        ({"prefix_caching": True}, (), 1),
        ({"room_tokens": 3}, (), 1),
        ({"finite_logits": True, "requests": {"1": (1.0, 0.01)}}, ("--fail_on", "doubtful", "--warmups", "0"), 1),
    ],
)
def test_exit_status(
    command: Command, fake_model: Model, script: dict[str, object], more: tuple[str, ...], status: int
) -> None:
    model = fake_model(**script)
    asked = ("--engine", "fake", "--model_id_or_path", model, "--context_length", "5", "--generate_length", "6")
    assert command("run", *asked, "--outputs_dir", "out", "--quiet", *more).returncode == status


def test_plan_says_what_is_left(fake: Command) -> None:
    planned = fake("plan")
    assert "1 cells in 1 loads; 0 are measured already" in planned.stdout
    assert "batch" not in planned.stdout, "a column that is 1 everywhere says nothing"
    fake("run")
    planned = fake("plan", "--batch_size", "1,4")
    assert "1 cells in 1 loads; 1 are measured already" in planned.stdout
    assert planned.stdout.splitlines()[0].split()[:4] == ["model", "engine", "input", "batch"]


def test_what_can_be_accepted(fake: Command) -> None:
    refused = fake("run", "--accept", "everything")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --accept everything: ")
    assert fake("plan", "--accept", "other-machines,other-versions").returncode == 0


def test_verify(fake: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake("run", "--batch_size", "1,2,4")
    sound, otherwise, damaged = records(tmp_path)
    (tmp_path / "out" / "report.json").write_text(json.dumps({"rows": []}))
    assert print_verified([tmp_path / "out"]) == 0
    other = f"1 passed over, such as {tmp_path / 'out' / 'report.json'}: it is no record"
    assert capsys.readouterr().out == f"3 records, 0 of them damaged; {other}\n"

    otherwise.write_text(otherwise.read_text().replace('"verdict":"valid"', '"verdict":"doubtful"'))
    assert print_verified([tmp_path / "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "judged otherwise by this version" in line] == [
        f"{otherwise}: unchanged, judged otherwise by this version: verdict was doubtful, is valid"
    ]
    assert lines[-1] == f"3 records, 0 of them damaged, 1 judged otherwise; {other}"

    damaged.write_text(damaged.read_text().replace('"repeats":3', '"repeats":4'))
    assert print_verified([tmp_path / "out"]) == 1
    out = capsys.readouterr().out
    assert f"{damaged}: damaged: its content does not match its record_id" in out
    assert str(sound) not in out


def test_machine_names_the_peaks(capsys: pytest.CaptureFixture[str]) -> None:
    inventory = Inventory(
        machine=Machine(
            processor="a processor",
            cores=8,
            memory_bytes=2**35,
            system="Linux",
            gpus=(Gpu(index=0, name="a GPU", memory_bytes=2**36),),
        ),
        state=MachineState(unix_s=0.0, load_1min=0.0, memory_available_bytes=2**34),
        busy=("GPU 0 is 90 % busy",),
        device_peaks=DevicePeaks(
            device="a GPU", bandwidths=((2**26, 4e12),), flops_per_s=8e14, matrix_dtype="bfloat16", torch="2"
        ),
    )
    print_inventory(inventory)
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "peak bandwidth 4,000.0 GB/s over 64 MiB" in shown
    assert "peak FLOP/s 800.00 TFLOP/s in bfloat16" in shown
    assert "busy GPU 0 is 90 % busy" in shown
    print_inventory(inventory, as_json=True)
    assert Inventory.model_validate_json(capsys.readouterr().out) == inventory


def test_a_script_has_the_flags_of_its_engine_alone(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "speed_benchmark_transformers.py"
    environment = os.environ | {"COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, script, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "--attn_implementation" in done.stdout
    assert "--batch_size" in done.stdout
    assert not {"--max_model_len", "--engine", "--retry", "only)"} & set(done.stdout.split())
