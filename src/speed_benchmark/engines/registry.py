"""The engines that are installed: the entry points of the group `speed_benchmark.engines`."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines.settings import Settings
from speed_benchmark.errors import UserError

GROUP = "speed_benchmark.engines"
# An entry point of this extra is for tests of the tool, and offered to nobody.
HIDDEN_EXTRA = "dev"


@cache
def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def names() -> tuple[str, ...]:
    """The engines that are offered to users, in alphabetical order."""
    return tuple(sorted(name for name, entry in _registered().items() if HIDDEN_EXTRA not in entry.extras))


@cache
def settings_class(name: str) -> type[Settings]:
    """The settings class of the engine called `name`, installed or not what it runs on; raises UserError for others."""
    entry = _registered().get(name)
    if entry is None:
        raise UserError("--engine", name, f"unknown; choose one of {', '.join(names())}")
    loaded: type[Settings] = entry.load()
    return loaded


def find(name: str) -> type[Settings]:
    """The settings class of an engine that can run here.

    Raises UserError where there is none of that name, or where what it needs is not installed.
    """
    found = settings_class(name)
    missing = [module for module in found.traits.requires if find_spec(module) is None]
    if missing:
        extra = f"pip install 'speed-benchmark[{name}]'"
        raise UserError("--engine", name, f"{', '.join(missing)} is not installed; run: {extra}")
    return found


def settings_of(settings: EngineSettings) -> Settings:
    """The engine's own options in `settings`, as an object of its class; raises UserError for an unknown engine."""
    return settings_class(settings.engine).of(settings)


def title(name: str) -> str:
    """What people call the engine; its name where it is not installed here, as in a record from elsewhere."""
    return settings_class(name).traits.title if name in _registered() else name
