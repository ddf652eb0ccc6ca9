"""Judged records of the fake engine, measured in this process by the code of a worker."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.record.machine import Machine, MachineState
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Checkpoint, Provenance, Record
from speed_benchmark.record.sample import Sample
from speed_benchmark.worker import events, measure
from speed_benchmark.worker.pipe import Pipe
from tests.judge.judging import checked

CONTEXT, GENERATE, TOKEN_S = 5, 101, 0.01
MACHINE = Machine(processor="test", cores=1, memory_bytes=1, system="test")
MOMENT = MachineState(unix_s=0.0, load_1min=0.0, memory_available_bytes=1)


class Listener(Pipe):
    """A pipe that keeps what is said, and waits for nobody."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []

    def send(self, event: events.Event) -> None:
        self.events.append(event)

    def wait(self) -> None:
        pass


@pytest.fixture
def fake_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Judged]:
    """Measures one cell with the fake engine, as often as its protocol says, and judges it.

    `times_s` are the durations of the repeats of each process, `warmup_s` that of a warm-up; `script` is the rest of
    fake.json, `protocol` and `workload` the rest of the cell's values.
    """
    # looking through all installed packages takes longer than all the rest
    monkeypatch.setattr(measure, "versions", lambda _: {})

    def make(
        *times_s: Sequence[float],
        warmup_s: float = 2.0,
        protocol: dict[str, Any] | None = None,
        workload: dict[str, Any] | None = None,
        quantization: str | None = None,
        outcome: Outcome = Outcome.OK,
        **script: Any,
    ) -> Judged:
        asked = {"repeats": len(times_s[0]) if times_s else 3, "processes": max(1, len(times_s))} | (protocol or {})
        cell = Cell(
            model=Model(model_id_or_path=str(tmp_path)),
            workload=Workload(**{"context_length": CONTEXT, "generate_length": GENERATE} | (workload or {})),
            settings=EngineSettings(engine="fake"),
            protocol=Protocol(**asked),
        )
        (tmp_path / "config.json").write_text('{"vocab_size": 5000}')
        warmups: list[Sample] = []
        samples: list[Sample] = []
        heard: dict[type, Any] = {}
        for process in range(cell.protocol.processes):
            requests = (warmup_s,) * cell.protocol.warmups + tuple(times_s[process] if times_s else ())
            decode_s = TOKEN_S * (cell.workload.generate_length - 1)
            exact = {number: (total_s - decode_s, TOKEN_S) for number, total_s in enumerate(requests)}
            (tmp_path / "fake.json").write_text(json.dumps({"requests": exact if times_s else {}} | script))
            listener = Listener()
            measure.work(events.Job(engine="fake", checkpoint_dir=str(tmp_path), cells=(cell,), gpus=()), listener)
            for event in listener.events:
                heard[type(event)] = event
                if isinstance(event, events.Sampled):
                    sample = event.sample.model_copy(update={"process": process})
                    (warmups if event.warmup else samples).append(sample)
        return checked(
            Record(
                cell_id=cell.cell_id,
                cell=cell,
                created_at="2026-01-02T03:04:05+00:00",
                outcome=outcome,
                prompt=heard[events.Prompted].kind,
                sampling=heard[events.Prompted].sampling,
                checkpoint=Checkpoint(source="local", quantization=quantization) if quantization else None,
                loaded=heard[events.LoadDone].loaded,
                warmups=tuple(warmups),
                samples=tuple(samples),
                audit=heard[events.Audited].audit if events.Audited in heard else None,
                machine=MACHINE,
                machine_before=MOMENT,
                machine_after=MOMENT,
                provenance=Provenance(tool_version="0"),
            )
        )

    return make
