"""What counts as answered: a whole command, its store, and what somebody did to either."""

import json
from pathlib import Path

import pytest

from speed_benchmark.record.folder import read
from speed_benchmark.record.machine import Gpu
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.store import Store
from tests.attacks.forge import forged
from tests.faults.sweeps import arguments, make_model, run

pytestmark = pytest.mark.engine


@pytest.mark.attack("1.1")
def test_another_machines_record_is_no_answer(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m"), tmp_path / "out"
    run(arguments([model], out, lengths="5"), out)
    (true,) = out.glob("*.json")
    record = read(true)
    h200 = Gpu(index=0, name="NVIDIA H200", memory_bytes=141 * 2**30)
    machine = record.machine.model_copy(update={"processor": "EPYC", "cores": 128, "gpus": (h200,)})
    forged(true, true, machine=machine, created_at="2019-01-01T00:00:00+00:00")
    again = run(arguments([model], out, lengths="5"), out)
    assert "1 record passed over: measured on another machine" in again.stderr
    assert len(again.records) == 2


@pytest.mark.attack("1.2")
def test_other_weights_in_the_same_folder_are_measured(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m"), tmp_path / "out"
    run(arguments([model], out, lengths="5"), out)
    weights = next(model.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    again = run(arguments([model], out, lengths="5"), out)
    assert "1 record passed over: other weights than" in again.stderr
    assert len(again.records) == 2


@pytest.mark.attack("1.2")
def test_a_model_of_the_same_name_elsewhere_is_another(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for place in ("p", "q"):
        (tmp_path / place).mkdir()
        model = make_model(tmp_path / place / "model")
        assert run(arguments([Path("model")], out, lengths="5"), model.parent / "none").status == 0
    assert len({record.cell_id for _, record in Store(out).records() if not isinstance(record, Exception)}) == 2


@pytest.mark.attack("1.5")
def test_a_limit_that_was_raised_is_tried(tmp_path: Path) -> None:
    slow = [{"action": "hang", "at": "generate", "request": 1}]
    model, out = make_model(tmp_path / "m", faults=slow), tmp_path / "out"
    short = run(arguments([model], out, "--first_token_limit_s", "0.5", lengths="5"), out)
    assert [record.outcome for record in short.records] == [Outcome.TIMEOUT]
    script = model / "fake.json"
    script.write_text(json.dumps({}))
    longer = run(arguments([model], out, "--first_token_limit_s", "60", lengths="5"), out)
    assert sorted(record.outcome for record in longer.records) == [Outcome.OK, Outcome.TIMEOUT]
