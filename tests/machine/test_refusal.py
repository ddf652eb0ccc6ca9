"""A busy GPU is refused, waited for, or measured and doubted; the GPU is not there, all else is."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.judge.judge import judge
from speed_benchmark.machine import idle
from speed_benchmark.record.folder import read
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from speed_benchmark.run.interrupt import Interrupt
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.observer import NullObserver
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.sweep import run_sweep
from tests.machine.fake_pynvml import FakeNvml, memory, process

pytestmark = pytest.mark.engine

NOBODY = 2**22 + 1
BUSY = {
    "MemoryInfo": memory(4 * 2**30),
    "UtilizationRates": SimpleNamespace(gpu=90),
    "ComputeRunningProcesses": [process(NOBODY)],
}
REASONS = (f"GPU 0 is used by process {NOBODY}", "GPU 0 has 4.0 GiB taken", "GPU 0 is 90 % busy")

Sweep = Callable[[Limits], Record]


@pytest.fixture
def sweep(fake_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Measures one cell of the fake engine on GPU 0, which is asked before it starts."""
    monkeypatch.setattr(idle, "SETTLE_S", 0.2)
    monkeypatch.setattr(idle, "STILL_S", 0.1)
    monkeypatch.setattr(idle, "_POLL_S", 0.01)
    cell = Cell(
        model=Model(model_id_or_path=str(fake_model())),
        workload=Workload(context_length=3, generate_length=3),
        settings=EngineSettings(engine="fake", gpu_count=1),
        protocol=Protocol(),
    )

    def measure(limits: Limits) -> Record:
        store = Store(tmp_path / "out")
        store.open()
        groups, policy = [LoadGroup((cell,), (0,))], Policy(no_skip=True)
        with Interrupt() as interrupt:
            (stored,) = run_sweep(groups, store, policy, limits, NullObserver(), interrupt)
        return read(stored.path)

    return measure


def test_a_busy_gpu_is_refused_and_says_who_uses_it(gpus: Callable[..., FakeNvml], sweep: Sweep) -> None:
    gpus(**BUSY)
    record = sweep(Limits())
    assert record.outcome is Outcome.REFUSED
    assert record.samples == ()
    assert record.cause is not None
    assert record.cause.message.startswith("; ".join(REASONS) + "; --wait_idle SECONDS")


@pytest.mark.attack("1.5")
def test_a_gpu_that_was_busy_is_looked_at_again(gpus: Callable[..., FakeNvml], sweep: Sweep) -> None:
    gpus(**BUSY)
    assert sweep(Limits()).outcome is Outcome.REFUSED
    gpus(**BUSY | {"MemoryInfo": memory(0), "ComputeRunningProcesses": [], "UtilizationRates": SimpleNamespace(gpu=0)})
    assert sweep(Limits()).outcome is Outcome.OK


@pytest.mark.attack("1.5")
def test_what_a_refusal_advises_helps(gpus: Callable[..., FakeNvml], sweep: Sweep) -> None:
    gpus(**BUSY)
    assert sweep(Limits()).outcome is Outcome.REFUSED
    assert sweep(Limits(allow_busy=True)).outcome is Outcome.OK


def test_a_busy_gpu_that_is_allowed_is_doubted(gpus: Callable[..., FakeNvml], sweep: Sweep) -> None:
    gpus(**BUSY)
    record = sweep(Limits(allow_busy=True))
    assert record.outcome is Outcome.OK
    assert record.busy == REASONS
    found = [finding.values for finding in judge(record).findings if finding.code == "busy_gpu"]
    assert found == [{"reason": reason} for reason in REASONS]


def test_a_gpu_that_becomes_idle_is_waited_for(gpus: Callable[..., FakeNvml], sweep: Sweep) -> None:
    busy_for = iter([90] * 40)

    def utilization(_: Any) -> SimpleNamespace:
        return SimpleNamespace(gpu=next(busy_for, 0))

    gpus(**BUSY | {"MemoryInfo": memory(0), "ComputeRunningProcesses": [], "UtilizationRates": utilization})
    record = sweep(Limits(wait_idle=60.0))
    assert record.outcome is Outcome.OK
    assert record.busy == ()
