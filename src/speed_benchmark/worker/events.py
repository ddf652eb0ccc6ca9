"""What a worker says to its parent, one JSON line each on a private pipe, and the job it is given."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from speed_benchmark.cell import Cell
from speed_benchmark.record.base import Frozen
from speed_benchmark.record.engine import Loaded, Sampling
from speed_benchmark.record.machine import Pace
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.record import Profile
from speed_benchmark.record.sample import Audit, Memory, Sample


class Job(Frozen):
    """One model load and the cells to measure with it, in order.

    `cores` are the processor cores to stay on, none for all of them. `profile` are the indices of the cells that
    get a pass under the profiler.
    """

    engine: str
    checkpoint_dir: str
    config_overrides: dict[str, Any] = Field(default_factory=dict)
    cells: tuple[Cell, ...]
    gpus: tuple[int, ...]
    cores: tuple[int, ...] = ()
    profile: tuple[int, ...] = ()


class Stage(Frozen):
    """The worker begins something; `index` counts from 1, `count` is how many there are at most."""

    type: Literal["stage"] = "stage"
    name: Literal["import", "build", "load", "prepare", "warmup", "repeat", "audit", "profile", "close"]
    cell: int | None = None
    index: int = 1
    count: int = 1


class Progress(Frozen):
    """How many tokens of the running request have come so far, of all its sequences together."""

    type: Literal["progress"] = "progress"
    tokens: int


class LoadDone(Frozen):
    """The model is loaded, and this is what really runs."""

    type: Literal["loaded"] = "loaded"
    loaded: Loaded
    load_s: float
    memory: Memory
    packages: dict[str, str]


class Prompted(Frozen):
    """How the prompts of a cell were made (`kind`), and the sampling that every engine gets."""

    type: Literal["prompted"] = "prompted"
    cell: int
    kind: str
    sampling: Sampling


class Paced(Frozen):
    """The pace of the host before the requests of a cell, or after them."""

    type: Literal["paced"] = "paced"
    cell: int
    pace: Pace


class Sampled(Frozen):
    """One request has ended."""

    type: Literal["sampled"] = "sampled"
    cell: int
    warmup: bool
    sample: Sample


class Audited(Frozen):
    """The audit of a cell has ended."""

    type: Literal["audited"] = "audited"
    cell: int
    audit: Audit


class Profiled(Frozen):
    """The pass of a cell under the profiler has ended."""

    type: Literal["profiled"] = "profiled"
    cell: int
    profile: Profile


class CellDone(Frozen):
    """All requests of a cell have ended; the worker goes on once its parent has said that the cell is on disk."""

    type: Literal["cell_done"] = "cell_done"
    cell: int


class Failed(Frozen):
    """The worker cannot go on; it ends after this."""

    type: Literal["failed"] = "failed"
    outcome: Outcome
    cause: Cause


class Closed(Frozen):
    """The engine is closed; nothing comes after this."""

    type: Literal["closed"] = "closed"


Event = Stage | Progress | LoadDone | Prompted | Paced | Sampled | Audited | Profiled | CellDone | Failed | Closed
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
