"""From what was asked for to the loads that measure it; whatever can be refused is refused here."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from speed_benchmark.cell import (
    INTERVAL_REPEATS,
    MAX_REPEATS,
    MAX_SECONDS,
    QUICK_WINDOW_TOKENS,
    Cell,
    EngineSettings,
    Model,
    Protocol,
    Workload,
    for_engine,
)
from speed_benchmark.engines import registry
from speed_benchmark.errors import UserError
from speed_benchmark.machine import nvml
from speed_benchmark.models import catalogue, rope, source
from speed_benchmark.run import estimate as predict
from speed_benchmark.run.suite import Point, Suite

Group = TypeVar("Group")
Config = dict[str, Any]


@dataclass(frozen=True)
class Load:
    """One loading of a model, and the cells that are measured with it, the shortest first.

    `gpus` are physical indices, none for the CPU; with `--gpus auto` (`movable`) as many others will do.
    """

    cells: tuple[Cell, ...]
    gpus: tuple[int, ...]
    movable: bool = False


def plan(suite: Suite) -> list[Load]:
    """The loads of `suite`: one for all cells that differ in their workload and protocol alone.

    Raises UserError for whatever can be known to be wrong before weights are read or an engine is imported.
    """
    loads: dict[tuple[Model, EngineSettings, tuple[int, ...], bool, str], dict[str, Cell]] = {}
    for point in suite.points():
        registry.find(point.get("engine", ""))
        cell, gpus, movable = _cell(point)
        if suite.excludes(asdict(cell.model) | asdict(cell.settings) | asdict(cell.protocol) | asdict(cell.workload)):
            continue
        _check(cell)
        config = known_config(cell.model)
        overrides = str(rope.config_overrides(config, cell.total_tokens)) if config else ""
        cells = loads.setdefault((cell.model, cell.settings, gpus, movable, overrides), {})
        cells[cell.cell_id] = cell
    if not loads:
        raise UserError("--exclude", None, "leaves nothing to measure")
    return [
        Load(tuple(sorted(cells.values(), key=lambda cell: cell.total_tokens)), gpus, movable)
        for (_, _, gpus, movable, _), cells in loads.items()
    ]


def _cell(point: Point) -> tuple[Cell, tuple[int, ...], bool]:
    """The cell of a point, its GPUs, and whether others will do."""
    movable = point.get("gpus") == "auto"
    gpus = parse_gpus(None if movable else point.get("gpus"))
    settings = for_engine(point["engine"], point)
    cell = Cell(
        model=build(Model, point),
        workload=build(Workload, point),
        settings=build(EngineSettings, settings | {"gpu_count": len(gpus)}),
        protocol=_protocol(point),
    )
    if not movable or not gpus:
        return cell, gpus, False
    config = known_config(cell.model)
    if config is None:
        raise UserError("--gpus", "auto", f"the shape of {cell.model.model_id_or_path} is not known; name the GPUs")
    gpus = gpus[: predict.least_gpus(cell, config, gpus)]
    return replace(cell, settings=replace(cell.settings, gpu_count=len(gpus))), gpus, True


def _protocol(point: Point) -> Protocol:
    """How often to repeat: as often as an interval needs where one is asked for, and within a budget."""
    precision = point.get("precision", "")
    with suppress(ValueError):
        if precision.endswith("%"):
            point = point | {"precision": str(float(precision[:-1]) / 100)}
    protocol, generate = build(Protocol, point), build(Workload, point).generate_length
    if protocol.quick and generate < 4 * QUICK_WINDOW_TOKENS:
        cure = f"is short enough to measure whole; --quick is for {4 * QUICK_WINDOW_TOKENS} tokens and more"
        raise UserError("--generate_length", generate, cure)
    if protocol.quick and "repeats" not in point:
        protocol = replace(protocol, repeats=INTERVAL_REPEATS)
    if protocol.precision is None:
        for name in ("max_repeats", "max_seconds"):
            if name in point:
                raise UserError(f"--{name}", point[name], "is a budget of --precision; give that too")
        return protocol
    least = max(protocol.repeats, INTERVAL_REPEATS)
    most = protocol.max_repeats or max(least, MAX_REPEATS)
    if most < least:
        raise UserError("--max_repeats", most, f"at least {least}, for the interval and for --repeats")
    return replace(protocol, repeats=least, max_repeats=most, max_seconds=protocol.max_seconds or MAX_SECONDS)


def build(group: type[Group], given: Mapping[str, Any]) -> Group:
    """A value of `group` from those of `given` that are its fields; raises UserError for the first bad one."""
    names = {name: value for name, value in given.items() if name in group.__annotations__ and value is not None}
    try:
        valid: Group = _adapter(group).validate_python(names)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if "missing" in first["type"]:
            raise UserError(f"--{first['loc'][0]}", None, "is missing; give it as a flag or in a suite") from None
        message = str(first["msg"]).replace("Input", "it", 1)
        raise UserError(f"--{first['loc'][0]}", first["input"], message[:1].lower() + message[1:]) from None
    return valid


@cache
def _adapter(group: type) -> TypeAdapter[Any]:
    return TypeAdapter(group)


def parse_gpus(text: str | None) -> tuple[int, ...]:
    """The GPUs named by `text`, as CUDA_VISIBLE_DEVICES names them; all visible ones where it is None.

    No GPU at all, and none asked for, means the CPU. Raises UserError for a malformed or repeated index and for
    a GPU that is not there.
    """
    there = nvml.gpu_count()
    option = "--gpus"
    if text is None:
        text = os.environ.get("CUDA_VISIBLE_DEVICES")
        option = "CUDA_VISIBLE_DEVICES"
        if text is None:
            return tuple(range(there))
        if not text.strip() or text.strip() == "-1":
            return ()
    if not re.fullmatch(r"\d{1,4}(,\d{1,4})*", text):
        raise UserError(option, text, "name GPUs by their numbers, like 0 or 0,1,2,3")
    gpus = tuple(int(index) for index in text.split(","))
    if len(set(gpus)) < len(gpus):
        raise UserError(option, text, "names a GPU twice")
    if max(gpus) >= there:
        here = f"the GPUs here are 0 to {there - 1}" if there else "no GPU is here; leave it out to use the CPU"
        raise UserError(option, text, here)
    return gpus


@cache
def known_config(model: Model) -> Config | None:
    """The model's config.json, of a local folder or from the catalogue; None for other ids on a hub.

    Raises UserError for a folder that holds no model, and for synthetic weights of an unknown shape.
    """
    name = model.model_id_or_path
    folder = Path(name).expanduser()
    if model.weights == "synthetic":
        source.shape(name)
    if folder.exists() or name.startswith(("/", "./", "../", "~")):
        if not folder.is_dir():
            raise UserError("--model_id_or_path", name, "no such folder; name one that holds a config.json")
        if model.revision is not None:
            raise UserError("--revision", model.revision, "a local folder has no revisions; leave it out")
        return source.shape(name)[0] if model.weights == "synthetic" else source.inspect(folder, model)[0]
    entry = catalogue.lookup(name)
    return entry.config if entry else None


def _check(cell: Cell) -> None:
    config = known_config(cell.model)
    check_length(cell, config)
    check_split(cell, config)


def check_length(cell: Cell, config: Config | None) -> None:
    """Refuse what can't fit the engine's or the model's longest sequence."""
    total, limit = cell.total_tokens, cell.settings.max_model_len
    asked = f"{cell.workload.context_length} input and {cell.workload.generate_length} generated tokens are {total}"
    if limit is not None and total > limit:
        raise UserError("--max_model_len", limit, f"{asked}; raise it to {total} or ask for fewer")
    if config is not None and total > rope.longest(config):
        cure = f"{asked}; this model reaches {rope.longest(config)}, with YaRN where it has it; ask for fewer"
        raise UserError("--context_length", cell.workload.context_length, cure)


def check_split(cell: Cell, config: Config | None) -> None:
    """Refuse a number of GPUs that vLLM's tensor parallelism can't split the model over."""
    heads, gpus = (config or {}).get("num_attention_heads"), cell.settings.gpu_count
    if cell.settings.engine == "vllm" and heads and gpus > 1 and heads % gpus:
        raise UserError("--gpus", f"({gpus} of them)", f"{heads} attention heads can't be split over {gpus} GPUs")
