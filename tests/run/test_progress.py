"""What a log says while a cell is measured."""

from pathlib import Path

import pytest

from speed_benchmark.cell import Cell
from speed_benchmark.judge.judgement import Finding, Judged, Judgement, Severity, Verdict
from speed_benchmark.run import progress
from speed_benchmark.run.progress import Display
from speed_benchmark.worker import events
from tests.run import made


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LOG_EVERY_S", 0.0)


def progress_of(cell: Cell, capsys: pytest.CaptureFixture[str]) -> str:
    display = Display()
    display.happened(cell, events.Stage(name="repeat", cell=0, index=1, count=3))
    display.happened(cell, events.Progress(tokens=30))
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("log")
def test_a_quick_request_is_a_part_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert "30 of 48 tokens" in progress_of(made.cell(generate=2048, quick=True), capsys)
    assert "30 of 2048 tokens" in progress_of(made.cell(generate=2048), capsys)


@pytest.mark.usefixtures("log")
def test_the_tokens_of_a_batch_are_those_of_all_its_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    cell = made.cell(generate=100)
    batch = replace(cell, workload=replace(cell.workload, batch_size=4))
    assert "30 of 400 tokens" in progress_of(batch, capsys)


def test_a_stored_record_is_told_with_its_doubts(capsys: pytest.CaptureFixture[str]) -> None:
    codes = [Finding(code="other_load", severity=Severity.DOUBTFUL), Finding(code="no_warmup", severity=Severity.NOTE)]
    judgement = Judgement(verdict=Verdict.DOUBTFUL, findings=tuple(codes))
    Display().stored(Judged(made.record(made.cell()), judgement), Path("out/record.json"))
    assert capsys.readouterr().err.endswith("stored: doubtful: other_load, in out/record.json\n")


def test_what_is_said_is_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    Display().said("3 records passed over")
    assert capsys.readouterr().err.endswith("3 records passed over\n")


def left_after(display: Display, seconds: float, cell: Cell, clock: list[float]) -> str:
    """How much is said to be left once `cell` is stored, so many seconds later."""
    clock[0] += seconds
    display.stored(Judged(made.record(cell), Judgement(verdict=Verdict.VALID, findings=())), Path("record.json"))
    return display._whole()


def test_the_time_left_is_what_was_forecast_at_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("speed_benchmark.run.progress.time.monotonic", lambda: clock[0])
    short, long, last = (made.cell(generate=tokens) for tokens in (10, 20, 30))
    display = Display()
    display.planned(3, 0)
    display.expected([(short.cell_id, 10.0), (long.cell_id, 100.0), (last.cell_id, 200.0)])
    assert display._whole().endswith("3 left, about 0:05:10"), "before anything is done, as forecast"
    assert left_after(display, 20.0, short, clock).endswith("2 left, about 0:10:00"), "it took twice as long"
    assert left_after(display, 90.0, long, clock).endswith("1 left, about 0:03:20"), "both together as forecast"
    assert left_after(display, 200.0, last, clock).endswith("0 left")


def test_without_a_forecast_cells_take_as_long_as_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("speed_benchmark.run.progress.time.monotonic", lambda: clock[0])
    one, other = made.cell(generate=10), made.cell(generate=20)
    display = Display()
    display.planned(3, 0)
    display.expected([(other.cell_id, 7.0)])
    assert display._whole().endswith("3 left")
    assert left_after(display, 30.0, one, clock).endswith("2 left, about 0:01:00")
