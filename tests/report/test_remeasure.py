"""The command that decides what a gate could not: it asks for the very cell again, and for enough of it."""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from speed_benchmark import flags
from speed_benchmark.cell import MAX_SECONDS, Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.judge.judge import judged
from speed_benchmark.machine import nvml
from speed_benchmark.models import published
from speed_benchmark.report import remeasure
from speed_benchmark.report.compare import Comparison, Measured, compare, measured
from speed_benchmark.report.remeasure import Effort, command, effort
from speed_benchmark.run.options import engine_options
from speed_benchmark.run.plan import build, for_engine, plan
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.suite import combine
from tests.report.made import GPU, record

LIMIT = 0.03
EFFORT = Effort(precision=0.0123, processes=2, repeats=7)
FIRST = measured(judged(record()))
MODEL = "Qwen/Qwen2.5-0.5B-Instruct"


def cell(engine: str = "fake", named: str = MODEL, **changed: Any) -> Cell:
    parts: dict[str, Any] = {
        "model": Model(model_id_or_path=named),
        "workload": Workload(context_length=6),
        "settings": for_engine(engine, {}),
        "protocol": Protocol(),
    }
    return Cell(**(parts | changed))


def kept(asked: Cell, **changed: Any) -> Measured:
    return replace(FIRST, asked=asked, **changed)


def parsed(shown: str) -> tuple[list[Cell], dict[str, Any]]:
    """The cells that a command line asks for, and its other settings: through the real parser and plan."""
    given: dict[str, Any] = {}

    def keep(**values: Any) -> int:
        given.update(values)
        return 0

    program = typer.Typer(add_completion=False)
    program.command()(flags.command(keep))
    words = shlex.split(shown.removeprefix("CUDA_VISIBLE_DEVICES= "))
    assert words[:2] == ["speed-benchmark", "run"]
    program(words[2:], standalone_mode=False)
    suite = combine(None, given)
    assert build(Policy, suite.settings).retry == "all"
    return [one for group in plan(suite) for one in group.cells], {**given, "folder": suite.outputs_dir}


def but_protocol(one: Cell) -> Cell:
    return replace(one, protocol=Protocol())


@pytest.fixture(autouse=True)
def _no_engine_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed_benchmark.engines.registry.find_spec", lambda _: object())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def check(asked: Cell, **changed: Any) -> dict[str, Any]:
    """The command of `asked` asks for it, and for nothing else."""
    (found,), given = parsed(command([kept(asked, **changed)], [EFFORT], Path("new")))
    assert but_protocol(found) == but_protocol(asked)
    assert found.cell_id == replace(asked, protocol=found.protocol).cell_id
    assert (found.protocol.precision, found.protocol.processes) == (0.012, 2)
    return given


@pytest.mark.parametrize("name", sorted(engine_options()))
def test_each_option_of_each_engine_comes_back(name: str) -> None:
    option = engine_options()[name]
    for engine, default in zip(option.engines, option.defaults, strict=True):
        for value in _other_values(option.kind, default):
            try:
                settings = for_engine(engine, {name: value})
            except Exception:  # noqa: BLE001, S112 - no value of this option
                continue
            check(cell(engine, settings=settings))


def _other_values(kind: Any, default: object) -> Sequence[str]:
    if kind is bool:
        return [str(not default).lower()]
    if kind is int:
        return ["65536"]
    return ["0.5"] if kind is float else [*getattr(kind, "__args__", ()), "flash_attention_2", "a,b"]


@pytest.mark.parametrize(
    "changed",
    [
        {"workload": Workload(context_length=6, generate_length=300, batch_size=4, sampling="greedy", seed=7)},
        {"model": Model(model_id_or_path=MODEL, revision="a-b/{1,2}", use_modelscope=True, trust_remote_code=True)},
        {"model": Model(model_id_or_path="-x/$(touch a) `b` 'c' \"d\" {e,f} g,h\\i;&|", allow_pickle=True)},
        {"model": Model(model_id_or_path=MODEL, weights="synthetic")},
        {"settings": for_engine("transformers", {"dtype": "float16"})},
    ],
)
def test_the_command_asks_for_the_very_cell(changed: dict[str, Any]) -> None:
    check(cell(**({"engine": "transformers"} | changed)))


def test_a_folder_of_any_name_is_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a, {b} 'c' model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(published.lookup(MODEL).config))  # type: ignore[union-attr]
    check(cell("transformers", model=Model(model_id_or_path=str(folder), weights="synthetic")))
    gone = tmp_path / "gone, {b} 'c'"
    shown = command([kept(cell("transformers", named=str(gone)))], [EFFORT], Path("new"))
    assert str(gone).replace(",", "\\,").replace("{", "\\{").replace("}", "\\}") in shlex.split(shown)


def test_warm_ups_and_quick_are_kept_and_the_folder_too() -> None:
    workload = Workload(context_length=6, generate_length=300)
    asked = cell("transformers", workload=workload, protocol=Protocol(warmups=3, quick=True))
    (found,), given = parsed(command([kept(asked)], [EFFORT], Path("a folder/$x")))
    assert (found.protocol.warmups, found.protocol.quick) == (3, True)
    assert given["folder"] == Path("a folder/$x")


def test_cells_that_differ_in_their_input_are_one_command() -> None:
    cells = [cell("transformers", workload=Workload(context_length=length)) for length in (6, 60, 600)]
    shown = command([kept(one) for one in cells], [EFFORT, replace(EFFORT, precision=0.005), EFFORT], Path("new"))
    found, _ = parsed(shown)
    assert [but_protocol(one) for one in found] == cells
    assert {one.protocol.precision for one in found} == {0.005}
    assert remeasure.same_but_length(kept(cells[0]), kept(cells[1]))
    assert not remeasure.same_but_length(kept(cells[0]), kept(cell("transformers", named="Qwen/Qwen2.5-7B-Instruct")))


def test_gpus_are_named_and_a_processor_kept_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = cell("transformers", settings=for_engine("transformers", {}, 2))
    shown = command([kept(asked, gpus=(1, 3), machine=GPU)], [EFFORT], Path("new"))
    assert "--gpus 1,3" in shown
    monkeypatch.setattr(nvml, "gpu_count", lambda: 4)
    (found,), _ = parsed(shown)
    assert found.settings.gpu_count == 2
    on_cpu = command([kept(cell("transformers"), machine=GPU.model_copy(update={"gpus": ()}))], [EFFORT], Path("new"))
    assert on_cpu.startswith("CUDA_VISIBLE_DEVICES= speed-benchmark run ")


def test_time_is_given_where_the_usual_budget_would_end_first() -> None:
    short, long = (kept(cell("transformers"), request_s=seconds) for seconds in (10.0, 50.0))
    assert "--max_seconds" not in command([short], [EFFORT], Path("new"))
    assert "--max_seconds 700 " in command([long], [EFFORT], Path("new"))
    assert 2 * EFFORT.repeats * 50.0 == 700 > MAX_SECONDS


def test_an_engine_that_is_unknown_here_keeps_its_options() -> None:
    asked = cell("transformers", settings=EngineSettings(engine="elsewhere", options={"depth": 3, "fast": True}))
    assert "--engine elsewhere --depth 3 --fast " in command([kept(asked)], [EFFORT], Path("new"))


def with_speeds(*processes: Sequence[float]) -> list[Measured]:
    return [replace(FIRST, speeds={0: tuple(speeds)}, moments=frozenset({str(speeds)})) for speeds in processes]


def compared(before: Sequence[Measured], after: Sequence[Measured]) -> Comparison:
    return compare(before, after).cells[0]


def test_a_side_that_is_known_well_enough_is_not_measured_again() -> None:
    found = compared(with_speeds([100, 100.1, 99.9, 100]), with_speeds([90, 99]))
    assert effort(found, found.before, LIMIT) is None
    again = effort(found, found.after, LIMIT)
    assert again is not None
    assert again.processes >= 2


def test_what_takes_too_many_repeats_is_no_effort_to_make() -> None:
    found = compared(with_speeds([100, 120, 80]), with_speeds([99, 119, 80]))
    again = effort(found, found.after, LIMIT)
    assert again is not None
    assert not again.is_possible
    assert again.repeats > 100


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.9, 1.0, 1.05])
def test_measuring_again_as_asked_decides_mostly(truth: float) -> None:
    """Two repeats a side, of a spread of 1 % and half as much between processes, then what the command asks for."""
    random, decided, tried = np.random.default_rng(5), 0, 0
    for _ in range(200):
        sides = [[list(speed * np.exp(random.normal(0, 0.01, 2)))] for speed in (100, 100 * truth)]
        first = compared(*(with_speeds(*side) for side in sides))
        for side, records, speed in zip(sides, (first.before, first.after), (100, 100 * truth), strict=True):
            again = effort(first, records, LIMIT)
            if again is None or not again.is_possible:
                continue
            for _ in range(again.processes):
                mine = speed * math.exp(random.normal(0, 0.005))
                side.append(list(mine * np.exp(random.normal(0, 0.01, max(6, again.repeats)))))
        if all(len(side) > 1 for side in sides):
            tried += 1
            decided += compared(*(with_speeds(*side) for side in sides)).is_decided(LIMIT)
    assert tried > 100
    assert decided / tried > 0.8
