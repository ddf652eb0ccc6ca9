"""Jobs of the fake engine, done in this process or in a worker's own."""

import json
from pathlib import Path
from typing import Any

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.worker import events
from speed_benchmark.worker.measure import work
from speed_benchmark.worker.pipe import Pipe


class Listener(Pipe):
    """A pipe that keeps what is said, and the name of each wait among it."""

    def __init__(self) -> None:
        self.said: list[events.Event | str] = []

    def send(self, event: events.Event) -> None:
        self.said.append(event)

    def wait(self) -> None:
        self.said.append("wait")

    def of(self, kind: type) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.said if isinstance(event, kind)]


def job(folder: Path, *workloads: dict[str, Any], protocol: dict[str, Any] | None = None, **script: Any) -> events.Job:
    """A job with a cell for each workload, in a folder that holds the script of the fake engine."""
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text('{"vocab_size": 5000}')
    (folder / "fake.json").write_text(json.dumps(script))
    usual = {"context_length": 3, "generate_length": 4}
    cells = tuple(
        Cell(
            model=Model(model_id_or_path=str(folder)),
            workload=Workload(**usual | workload),
            settings=EngineSettings(engine="fake"),
            protocol=Protocol(**protocol or {}),
        )
        for workload in workloads or ({},)
    )
    return events.Job(engine="fake", checkpoint_dir=str(folder), cells=cells, gpus=())


def done(what: events.Job) -> Listener:
    """What a worker says of a job."""
    listener = Listener()
    work(what, listener)
    return listener


def foreign_tokenizer(folder: Path, unknown: int) -> None:
    """A tokenizer.json that has one id for every character, `unknown`."""
    split = {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False}
    model = {"type": "WordLevel", "vocab": {"[UNK]": unknown}, "unk_token": "[UNK]"}
    usual: dict[str, Any] = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    content = {"version": "1.0", **usual, "added_tokens": [], "pre_tokenizer": split, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(content))
