"""From what was asked for to the groups of cells that share a load; whatever can be refused is refused here."""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from speed_benchmark.cell import (
    DEFAULT_MAX_REPEATS,
    DEFAULT_MAX_SECONDS,
    DEFAULT_PRECISION,
    DEPENDENCE_REPEATS,
    MAX_REPEATS,
    MAX_SECONDS,
    QUICK_WINDOW_TOKENS,
    Cell,
    EngineSettings,
    Model,
    Protocol,
    Workload,
    canonical_json,
)
from speed_benchmark.engines import registry
from speed_benchmark.engines.settings import Settings
from speed_benchmark.errors import UserError
from speed_benchmark.machine import nvml
from speed_benchmark.models import rope
from speed_benchmark.models.config import Config
from speed_benchmark.models.sampling import read_sampling
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.folder import MAX_RECORD_BYTES
from speed_benchmark.record.sample import TOKEN_TIME_BYTES
from speed_benchmark.run import estimate, known
from speed_benchmark.run.options import applies, broken, engine_options
from speed_benchmark.run.suite import Point, Suite

Group = TypeVar("Group")

_GPU_NUMBER = re.compile(r"[0-9]{1,4}")
# As `nvidia-smi -L` shows them, whole or their beginning; of old drivers MIG-GPU-…/1/0.
_GPU_UUID = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]{1,80}")


@dataclass(frozen=True)
class LoadGroup:
    """Cells that are measured with one loading of a model, the shortest first.

    `gpus` are physical indices, none for the CPU; with `--gpus auto` (`movable`) as many others will do.
    """

    cells: tuple[Cell, ...]
    gpus: tuple[int, ...]
    movable: bool = False


def plan(suite: Suite) -> list[LoadGroup]:
    """The loads of `suite`: one for all cells that differ in their lengths, sampling, seed and protocol alone.

    Raises UserError for whatever can be known to be wrong before weights are read or an engine is imported.
    """
    grouped: dict[str, list[LoadGroup]] = {}
    singles = [(point, _single(point)) for point in suite.points()]
    known.ask(single.cells[0].model for _, single in singles)
    for point, given in singles:
        single = _fewest_gpus(given)
        (cell,) = single.cells
        if suite.excludes(_values(cell, point)):
            continue
        _check(cell)
        grouped.setdefault(_load_key(single), []).append(single)
    if not grouped:
        raise UserError("--exclude", None, "leaves nothing to measure")
    return [_merge(singles) for singles in grouped.values()]


def _single(point: Point) -> LoadGroup:
    """The cell of a point, alone, and its GPUs: with `--gpus auto` all."""
    settings = for_engine(point.get("engine", ""), point)
    movable = point.get("gpus") == "auto"
    gpus = parse_gpus(None if movable else point.get("gpus"))
    cell = Cell(
        model=_model(point),
        workload=build(Workload, point),
        settings=replace(settings, gpu_count=len(gpus)),
        protocol=_protocol(point),
    )
    return LoadGroup((cell,), gpus, movable=movable and bool(gpus))


def _fewest_gpus(single: LoadGroup) -> LoadGroup:
    """A cell, with `--gpus auto` on as many of its GPUs as it needs."""
    (cell,), gpus = single.cells, single.gpus
    if not single.movable:
        return single
    shape = known.shape(cell.model)
    if shape is None:
        raise UserError("--gpus", "auto", f"the shape of {cell.model.model_id_or_path} is not known; name the GPUs")
    gpus = gpus[: estimate.least_gpus(cell, shape, gpus)]
    return replace(single, cells=(replace(cell, settings=replace(cell.settings, gpu_count=len(gpus))),), gpus=gpus)


def _values(cell: Cell, point: Point) -> dict[str, object]:
    """The values of all axes of a cell, the model's name as it was given."""
    groups = (cell.model, cell.settings, registry.settings_of(cell.settings), cell.protocol, cell.workload)
    known = {name: value for group in groups for name, value in asdict(group).items()}
    return known | {"model_id_or_path": point["model_id_or_path"]}


def _load_key(single: LoadGroup) -> str:
    """What two cells must share to be measured with one load."""
    (cell,) = single.cells
    config = known.config(cell.model)
    overrides = rope.config_overrides(config, cell.total_tokens) if config else {}
    shared = [asdict(cell.model), asdict(cell.settings), cell.workload.batch_size]
    return canonical_json([*shared, single.gpus, single.movable, overrides])


def _merge(singles: Iterable[LoadGroup]) -> LoadGroup:
    """All their cells, each once, in one group."""
    first, *_ = singles = list(singles)
    cells = {cell.cell_id: cell for single in singles for cell in single.cells}
    return replace(first, cells=tuple(sorted(cells.values(), key=lambda cell: cell.total_tokens)))


def for_engine(engine: str, given: Mapping[str, Any], gpu_count: int = 0) -> EngineSettings:
    """The settings of `engine` from the options `given`, its defaults where none is.

    Raises UserError for an engine that can't run here, for a bad value, and for one that does not apply to the engine.
    """
    own = _settings_class(engine)
    for name, option in engine_options().items():
        if given.get(name) is not None and not applies(name, engine):
            cure = f"applies to {', '.join(option.engines)} only; leave it out"
            raise UserError(f"--{name}", given[name], cure)
    common = build(EngineSettings, {**given, "engine": engine, "gpu_count": gpu_count, "options": None})
    return replace(common, options=build(own, given).stored())


def _settings_class(engine: str) -> type[Settings]:
    reason = broken(engine)
    if reason:
        raise UserError("--engine", engine, f"{reason}; repair or uninstall it")
    return registry.find(engine)


def _model(point: Point) -> Model:
    """The model of a point; a local folder by its absolute path, which names the same one from everywhere."""
    model = build(Model, point)
    folder = known.path(model.model_id_or_path)
    if not os.path.isdir(folder):  # noqa: PTH112 - pathlib raises
        return model
    return build(Model, {**point, "model_id_or_path": str(folder.resolve())})  # once more: where it lies may be no text


def _protocol(point: Point) -> Protocol:
    """How often to repeat: as often as is asked for; else until the speed is known, within a budget.

    A precision that is asked for is tried with no fewer repeats than can show that they depend on each other.
    """
    precision = point.get("precision", "")
    with suppress(ValueError):
        if precision.endswith("%"):
            point = point | {"precision": str(float(precision[:-1]) / 100)}
    protocol, generate = build(Protocol, point), build(Workload, point).generate_length
    if protocol.quick and generate < 4 * QUICK_WINDOW_TOKENS:
        cure = f"is short enough to measure whole; --quick is for {4 * QUICK_WINDOW_TOKENS} tokens and more"
        raise UserError("--generate_length", generate, cure)
    if protocol.quick and "repeats" not in point:
        protocol = replace(protocol, repeats=DEPENDENCE_REPEATS)
    if protocol.precision is None:
        for name in ("max_repeats", "max_seconds"):
            if name in point:
                raise UserError(f"--{name}", point[name], "is a budget of --precision; give that too")
        if protocol.quick or "repeats" in point:
            return protocol
        return replace(
            protocol,
            precision=DEFAULT_PRECISION,
            max_repeats=DEFAULT_MAX_REPEATS,
            max_seconds=DEFAULT_MAX_SECONDS,
        )
    least = max(protocol.repeats, DEPENDENCE_REPEATS)
    most = protocol.max_repeats or max(least, MAX_REPEATS)
    if most < least:
        raise UserError("--max_repeats", most, f"at least {least}, for the interval and for --repeats")
    return replace(protocol, repeats=least, max_repeats=most, max_seconds=protocol.max_seconds or MAX_SECONDS)


def build(group: type[Group], given: Mapping[str, Any]) -> Group:
    """A value of `group` from those of `given` that are its fields; raises UserError for the first bad one."""
    known = {field.name for field in fields(group)}  # type: ignore[arg-type]
    names = {name: value for name, value in given.items() if name in known and value is not None}
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

    No GPU at all, and none asked for, means the CPU. Raises UserError for a malformed or repeated name and for
    a GPU that is not there.
    """
    option = "--gpus"
    if text is None:
        option, text = "CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES")
        if text is None:
            return tuple(range(nvml.gpu_count()))
        if not text.strip() or text.strip() == "-1":
            return ()
    names = text.split(",")
    if not all(_GPU_NUMBER.fullmatch(name) or _GPU_UUID.fullmatch(name) for name in names):
        raise UserError(option, text, "name GPUs by their numbers, like 0 or 0,1,2,3, or by their UUIDs")
    if option == "--gpus" and any(name.startswith("MIG-") for name in names):
        raise UserError(option, text, "name parts of GPUs (MIG) in CUDA_VISIBLE_DEVICES, and leave out --gpus")
    gpus = tuple(_gpu(option, text, name) for name in names) if len(set(names)) == len(names) else ()
    if len(set(gpus)) < len(names):
        raise UserError(option, text, "names a GPU twice")
    return gpus


def _gpu(option: str, text: str, name: str) -> int:
    """The physical index of the GPU that `text` calls `name`: its number, its UUID, or that of a part of it (MIG)."""
    there = nvml.gpu_count()
    index = int(name) if name.isdigit() else nvml.index_of(name)
    if index is None or index >= there:
        here = f"the GPUs here are 0 to {there - 1}" if there else "no GPU is here; leave it out to use the CPU"
        raise UserError(option, text, here if name.isdigit() else f"{name} is no GPU of this machine: {here}")
    return index


def _check(cell: Cell) -> None:
    check_length(cell, known.config(cell.model))
    check_split(cell, known.shape(cell.model))
    check_record(cell)
    if cell.workload.sampling == "model":
        _check_sampling(cell.model)


@cache
def _check_sampling(model: Model) -> None:
    """Refuse a local folder whose own sampling makes no sense."""
    folder = known.path(model.model_id_or_path)
    if os.path.isdir(folder):  # noqa: PTH112 - pathlib raises
        read_sampling(folder)


def check_length(cell: Cell, config: Config | None) -> None:
    """Refuse what can't fit the engine's or the model's longest sequence."""
    own = registry.settings_of(cell.settings)
    option, total = own.traits.length_option, cell.total_tokens
    limit = getattr(own, option) if option else None
    asked = f"{cell.workload.context_length} input and {cell.workload.generate_length} generated tokens are {total}"
    if limit is not None and total > limit:
        raise UserError(f"--{option}", limit, f"{asked}; raise it to {total} or ask for fewer")
    if config is not None and total > rope.longest(config):
        cure = f"{asked}; this model reaches {rope.longest(config)}, with YaRN where it has it; ask for fewer"
        raise UserError("--context_length", cell.workload.context_length, cure)


def check_split(cell: Cell, shape: Shape | None) -> None:
    """Refuse a number of GPUs over which the engine can't split the model's attention heads."""
    gpus = cell.settings.gpu_count
    if shape is None or gpus == 0 or not shape.attention_layers:
        return
    if not estimate.can_split(cell.settings, shape.attention_heads, gpus):
        cure = f"{shape.attention_heads} attention heads can't be split over {gpus} GPUs"
        raise UserError("--gpus", f"({gpus} of them)", cure)


def check_record(cell: Cell) -> None:
    """Refuse a cell whose record would be too large to be read again."""
    if cell.token_times * TOKEN_TIME_BYTES > MAX_RECORD_BYTES:
        most = MAX_RECORD_BYTES // TOKEN_TIME_BYTES
        cure = f"the times of {cell.token_times:,} tokens are more than the {most:,} of a record; ask for fewer repeats"
        raise UserError("--generate_length", cell.workload.generate_length, f"{cure}, sequences or tokens")
