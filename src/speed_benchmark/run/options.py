"""The options that engines bring, merged by name; an engine that can't be imported is left out.

Light, for `--help` asks it: no settings class is built and nothing is checked here.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from speed_benchmark.cell import EngineSettings, Model, Protocol, Workload, options
from speed_benchmark.engines import registry
from speed_benchmark.engines.settings import Settings
from speed_benchmark.errors import UserError
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.policy import Policy
from speed_benchmark.terminal import say

# Every flag that is the same whatever engine runs: no engine may call an option of its own so.
COMMON = (
    *options(Model, Workload, EngineSettings, Protocol, Limits, Policy),
    *("suite", "grid", "depth", "exclude", "gpus", "gpu_count", "options", "outputs_dir", "json", "quiet", "help"),
)


@dataclass(frozen=True)
class EngineOption:
    """An option that `engines` have under one name; `kind` is its type without bounds, as the first of them has it."""

    engines: tuple[str, ...]
    kind: Any
    help: str
    defaults: tuple[object, ...]


@cache
def offered() -> Mapping[str, type[Settings]]:
    """The settings class of each engine that is offered; those left out are warned of, once, on standard error."""
    found = {}
    for name in registry.names():
        reason = broken(name)
        if reason is None:
            found[name] = registry.settings_class(name)
        else:
            say(f"warning: the engine {name} is left out: {reason}", error=True)
    return found


@cache
def broken(engine: str) -> str | None:
    """Why an installed engine can't be used, None where it can. Raises UserError for one that is not installed."""
    try:
        found: object = registry.settings_class(engine)
        names = options(found) if isinstance(found, type) and issubclass(found, Settings) else None
    except UserError:
        raise  # there is none of that name
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        return " ".join(f"it can't be imported: {type(error).__name__}: {error}".split())
    if names is None or not hasattr(found, "traits"):
        return "its entry point names no subclass of speed_benchmark.engines.settings.Settings with traits"
    taken = [name for name in names if name in COMMON]
    return f"its option {taken[0]} is one that every engine has" if taken else None


@cache
def engine_options() -> Mapping[str, EngineOption]:
    """The options of all offered engines, by name."""
    merged: dict[str, EngineOption] = {}
    for engine, settings in offered().items():
        for name, (annotation, option, default) in options(settings).items():
            shown = option.implied if default in (None, MISSING) else default
            one = merged.get(name, EngineOption((), plain(annotation), option.help, ()))
            merged[name] = EngineOption((*one.engines, engine), one.kind, one.help, (*one.defaults, shown))
    return merged


def applies(name: str, engine: str) -> bool:
    """Whether the option `name` is one of `engine`, or one that every engine has."""
    return name in COMMON or (broken(engine) is None and name in options(registry.settings_class(engine)))


def kinds() -> dict[str, Any]:
    """The type, without bounds, of every option of a cell."""
    common = options(Model, EngineSettings, Protocol, Workload)
    own = {name: one.kind for name, one in engine_options().items()}
    return {name: plain(annotation) for name, (annotation, _, _) in common.items()} | own


def plain(annotation: Any) -> Any:  # noqa: ANN401 - types in, a type out
    """The type of a field without its bounds and without None."""
    if get_origin(annotation) is Annotated:
        return plain(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return annotation
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    return plain(arguments[0]) if arguments else annotation
