"""How long what is left of a sweep takes here: which records count, and what is printed of it."""

from pathlib import Path

import pytest

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.machine import describe, peaks
from speed_benchmark.machine.device import Device
from speed_benchmark.record.folder import records
from speed_benchmark.record.record import Record
from speed_benchmark.report.plan_table import print_plan, time_range
from speed_benchmark.run import outlook
from speed_benchmark.run.forecast import Range
from speed_benchmark.run.outlook import Outlook
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.resume import Survey

H100 = Device(
    gpus=1, memory_bytes=80 * 2**30, bytes_per_s=3.35e12, name="NVIDIA H100 80GB HBM3", compute_capability=(9, 0)
)
HOST = Path(__file__).parents[2] / "results" / "nvidia-h100-other-host"


def one_of(folder: Path) -> Record:
    return next(record for _, record in records(folder) if isinstance(record, Record))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Record:
    """This machine is the one of that host's records, one of which is returned."""
    found = one_of(HOST)
    monkeypatch.setattr(describe, "describe", lambda _: found.machine)
    monkeypatch.setattr(outlook, "device", lambda _: H100)
    monkeypatch.setattr("speed_benchmark.report.plan_table.device", lambda _: H100)
    monkeypatch.setattr(peaks, "known", lambda _: None)
    return found


def group(engine: str, *, model: str = "Qwen/Qwen2.5-0.5B-Instruct", inputs: tuple[int, ...] = (6144,)) -> LoadGroup:
    cells = tuple(
        Cell(
            model=Model(model_id_or_path=model),
            workload=Workload(context_length=tokens),
            settings=EngineSettings(
                engine=engine, gpu_count=1, options={"engine_core": "process"} if engine == "vllm" else {}
            ),
            protocol=Protocol(),
        )
        for tokens in inputs
    )
    return LoadGroup(cells=cells, gpus=(0,))


@pytest.mark.usefixtures("here")
def test_records_of_this_machine_tell_its_pace() -> None:
    """Without them this host is forecast as others are; its request takes 5.26 s."""
    (speed,) = (Outlook([group("vllm")], HOST).tokens_per_s(0),)
    unknown = Outlook([group("vllm")], None).tokens_per_s(0)
    assert speed
    assert unknown
    assert 2048 / speed.middle == pytest.approx(5.26, rel=0.15)
    assert speed.high / speed.low < 1.35 < unknown.high / unknown.low


def test_records_of_other_machines_do_not_count(here: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Outlook([group("vllm")], HOST).records == 6
    other = here.machine.model_copy(update={"processor": "another"})
    monkeypatch.setattr(describe, "describe", lambda _: other)
    assert Outlook([group("vllm")], HOST).records == 0


@pytest.mark.usefixtures("here")
def test_each_cell_has_its_part_of_the_load() -> None:
    groups = [group("vllm"), group("transformers", inputs=(1, 6144)), group("vllm", model="someone/unknown")]
    found = Outlook(groups, None)
    assert [cell_id for cell_id, _ in found.cells()] == [one.cell_id for load in groups[:2] for one in load.cells]
    assert sum(seconds for _, seconds in found.cells()) == pytest.approx(found.total().middle)
    assert found.seconds(2) is None


@pytest.mark.parametrize(
    ("low_s", "high_s", "text"),
    [(3.2, 5.1, "3.2 to 5.1 s"), (180, 300, "3 to 5 min"), (100, 110, "100 to 110 s"), (71.9, 72.1, "72 s"),
     (3600, 9000, "1 to 2.5 h"), (4e5, 8e6, "111 to 2,222 h")],
)  # fmt: skip
def test_a_time_is_a_range(low_s: float, high_s: float, text: str) -> None:
    assert time_range(Range(low_s, (low_s + high_s) / 2, high_s)) == text


@pytest.mark.usefixtures("here")
def test_a_plan_shows_ranges_and_what_they_stand_on(capsys: pytest.CaptureFixture[str]) -> None:
    groups = [group("transformers"), group("vllm", model="someone/unknown")]
    print_plan(groups, Survey((), {}, None, HOST), 1)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].endswith("fits tokens/s time")
    assert " to " in lines[2]
    assert lines[2].endswith(" min")
    assert lines[3].endswith("unknown unknown")
    assert lines[-1].endswith("one after the other, by 6 records of this machine")
    print_plan(groups, Survey((), {}, None, None), 1)
    assert capsys.readouterr().out.rstrip().endswith("a rough guess until something is measured here")
