"""Cells, events and records made up for tests of the parent: no worker runs for them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.machine import describe
from speed_benchmark.record.engine import Loaded, Sampling
from speed_benchmark.record.machine import MachineState
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Checkpoint, Record
from speed_benchmark.record.sample import Memory, Sample, Sequence
from speed_benchmark.run.collector import Draft, Surroundings
from speed_benchmark.run.provenance import provenance
from speed_benchmark.worker import events


def cell(length: int = 5, *, model: str = "m", generate: int = 4, sampling: str = "model", **protocol: Any) -> Cell:
    return Cell(
        model=Model(model_id_or_path=model),
        workload=Workload(
            context_length=length,
            generate_length=generate,
            sampling=sampling,  # type: ignore[arg-type]
        ),
        settings=EngineSettings(engine="fake"),
        protocol=Protocol(**{"repeats": 2, **protocol}),
    )


def sample(of: Cell, duration_s: float = 1.0, started_at_unix_s: float = 0.0) -> Sample:
    """Tokens at even times, the last one at the end."""
    workload = of.workload
    times = tuple(duration_s * (number + 1) / workload.generate_length for number in range(workload.generate_length))
    one = Sequence(
        token_times_s=times,
        prompt_tokens=workload.context_length,
        output_tokens=workload.generate_length,
        output_digest="sha256:0",
        first_token_ids=tuple(range(min(16, workload.generate_length))),
    )
    return Sample(started_at_unix_s=started_at_unix_s, duration_s=duration_s, sequences=(one,) * workload.batch_size)


def load_done(packages: Mapping[str, str] | None = None) -> events.LoadDone:
    loaded = Loaded(
        attention_implementation="fake",
        quantization="BF16",
        dtype="bfloat16",
        execution="eager",
        weight_bytes=0,
        rope="default",
        devices=("fake",),
    )
    return events.LoadDone(loaded=loaded, load_s=1.0, memory=Memory(), packages=dict(packages or {}))


def state(unix_s: float = 0.0) -> MachineState:
    return MachineState(unix_s=unix_s, load_1min=0.0, memory_available_bytes=2**30)


def surroundings(
    unix_s: float = 100.0, digest: str | None = None, packages: Mapping[str, str] | None = None
) -> Surroundings:
    return Surroundings(
        machine=describe.describe(()),
        after=state(unix_s),
        provenance=provenance(packages or {}),
        checkpoint=Checkpoint(source="local", weights_digest=digest) if digest else None,
    )


def record(
    of: Cell,
    outcome: Outcome = Outcome.OK,
    created_at: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    digest: str | None = None,
    packages: Mapping[str, str] | None = None,
) -> Record:
    """A record of this machine with as many requests as the cell's protocol asks for, one every two seconds."""
    warmups, repeats = of.protocol.warmups, of.protocol.repeats
    first_s = created_at.timestamp() - 2 * (warmups + repeats)
    requests = [sample(of, 1.0 + 0.001 * number, first_s + 2 * number) for number in range(warmups + repeats)]
    draft = Draft(
        of, before=state(), loaded=load_done(packages), samples=requests[warmups:], warmups=requests[:warmups]
    )
    draft.prompt, draft.sampling = "random", Sampling(temperature=0.0 if of.workload.sampling == "greedy" else 0.7)
    return draft.record(outcome, None, surroundings(created_at.timestamp(), digest, packages))
