"""From fields to command-line flags: the parser of `run`, `plan` and the report's scripts.

Each `Annotated[..., Option]` field of what says what to measure, and of each engine's own settings, is a flag. Typer
takes every value as text, so that one place (`run.plan.build`) checks it by the field's own bounds, from wherever it
comes; its signature is therefore made here, and not read from a function.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING
from typing import Annotated, Any, get_args

import typer

from speed_benchmark.cell import (
    DEFAULT_MAX_REPEATS,
    DEFAULT_MAX_SECONDS,
    DEFAULT_PRECISION,
    INTERVAL_REPEATS,
    EngineSettings,
    Model,
    Protocol,
    Workload,
    options,
)
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.options import engine_options, offered, plain
from speed_benchmark.run.policy import Policy

Command = Callable[..., int]

DEPTH_HELP = (
    "tokens of context at which to measure decoding, each after a prefill of its own, like 0,8192,32768: the cells of "
    "--context_length, whose place it takes, with 128 tokens to generate unless --generate_length says otherwise"
)

REPORT_REPEATS = "3"
# What `run` does where nothing is said of it; a cell gets it when it is planned.
DEFAULT_REPEATS = (
    f"{INTERVAL_REPEATS} to {DEFAULT_MAX_REPEATS}, until the speed is known to ±{DEFAULT_PRECISION:.0%}, "
    f"at most {DEFAULT_MAX_SECONDS:g} s"
)


def command(do: Command, engine: str | None = None) -> Command:
    """A command that calls `do` with its flags as keywords: those of `engine`, or of all engines and `--engine`."""

    def call(**given: Any) -> int:  # noqa: ANN401 - the values of all flags
        if engine is not None:
            given |= {"engine": engine, "retry": "all"} | _as_the_report(given)
        return do(**given)

    parameters = _of_script(engine) if engine is not None else _of_suite()
    call.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    return call


def _as_the_report(given: Mapping[str, Any]) -> dict[str, str]:
    """How often the report repeated, where nothing else is asked for: its scripts measure anew, three times."""
    return {} if any(given.get(name) for name in ("repeats", "precision", "quick")) else {"repeats": REPORT_REPEATS}


def _of_suite() -> Iterator[inspect.Parameter]:
    """The parameters of a verb that takes suites: everything is optional, for a suite may give it."""
    argument = typer.Argument(help="TOML file of a suite; its keys are the flags below", show_default=False)
    annotation = Annotated[str | None, argument]
    yield inspect.Parameter("suite", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    yield from _of_groups(Model, Workload, EngineSettings, required=False)
    yield _parameter("depth", str, DEPTH_HELP)
    yield from _of_engines()
    yield from _of_groups(Protocol, Limits, Policy, required=False)
    yield _parameter("exclude", list, "cells to leave out, like 'model_id_or_path=*7B*; context_length=6144'")
    gpus = "GPUs to use, as CUDA_VISIBLE_DEVICES: 0 or 0,1,2,3; auto: as few as fit"
    yield from _of_output(gpus, "outputs/ENGINE")


def _of_script(engine: str) -> Iterator[inspect.Parameter]:
    """The parameters of the script of one engine, which measures one cell."""
    shared = _of_groups(Model, Workload, EngineSettings, required=True)
    yield from (parameter for parameter in shared if parameter.name != "engine")
    yield from _of_engines(engine)
    yield from _of_groups(Protocol, Limits, required=True)
    yield from _of_output("GPUs to use, as CUDA_VISIBLE_DEVICES: 0 or 0,1,2,3", f"outputs/{engine}")


def _of_groups(*groups: type, required: bool) -> Iterator[inspect.Parameter]:
    """A flag for each option of `groups`; one without a default is required, or said to be."""
    for name, (annotation, option, default) in options(*groups).items():
        if default is MISSING and not required:
            yield _parameter(name, plain(annotation), f"{option.help} (required, here or in a suite)")
        else:
            shown = DEFAULT_REPEATS if name == "repeats" and not required else default
            yield _parameter(name, plain(annotation), option.help, shown)


def _of_engines(only: str | None = None) -> Iterator[inspect.Parameter]:
    """A flag for each option that engines bring, with the names of those that have it; or for those of one engine."""
    for name, option in engine_options().items():
        defaults = dict(zip(option.engines, option.defaults, strict=True))
        if only is None:
            hint = f" ({', '.join(option.engines)} only)"
            yield _parameter(name, option.kind, option.help + hint, _shown(defaults))
        elif only in defaults:
            yield _parameter(name, option.kind, option.help, defaults[only])


def _of_output(gpus: str, folder: str) -> Iterator[inspect.Parameter]:
    yield _parameter("gpus", str, gpus, "all visible, else the CPU")
    yield _parameter("outputs_dir", str, "folder for the records", folder)
    yield _parameter("json", bool, "print the record as JSON on standard output, and nothing else there")
    yield _parameter("quiet", bool, "show no progress")


def _shown(defaults: dict[str, object]) -> object:
    """The default of all engines, or each engine's where they differ."""
    if len(set(defaults.values())) == 1:
        return next(iter(defaults.values()))
    return ", ".join(f"{default} of {engine}" for engine, default in defaults.items())


def _parameter(name: str, kind: Any, text: str, default: object = None) -> inspect.Parameter:  # noqa: ANN401 - a type
    """A flag in both spellings; without a default (MISSING) it is required."""
    spellings = dict.fromkeys(_spelling(name.replace("_", mark), negative=default is True) for mark in "_-")
    required = default is MISSING
    shown = "" if required or default in (None, False, ()) else f"  [default: {default}]"
    values = tuple(offered()) if name == "engine" else get_args(kind)
    choices = "|".join(map(str, values)) or {int: "NUMBER", float: "NUMBER"}.get(kind, "TEXT")
    metavar = None if kind is bool else choices
    option = typer.Option(*spellings, help=text + shown, show_default=False, metavar=metavar)
    taken: Any = {bool: bool, list: list[str]}.get(kind, str)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[taken if required else taken | None, option],
    )


def _spelling(name: str, *, negative: bool) -> str:
    """A flag, with one that takes it back where it is on by default."""
    return f"--{name}/--no{'-' if '-' in name else '_'}{name}" if negative else f"--{name}"
