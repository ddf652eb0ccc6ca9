"""Engines: what generates the tokens. One file each, and one line in pyproject.toml's entry points."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from speed_benchmark.engines.protocol import Engine
from speed_benchmark.errors import UserError


@cache
def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="speed_benchmark.engines")}


def find(name: str) -> type[Engine]:
    """The engine class called `name`, whatever it runs on.

    Raises UserError where there is none, or where what it needs is not installed.
    """
    entry = _registered().get(name)
    if entry is None:
        raise UserError("--engine", name, f"unknown; choose one of {', '.join(sorted(_registered()))}")
    engine: type[Engine] = entry.load()
    missing = [module for module in engine.requires if find_spec(module) is None]
    if missing:
        extra = f"pip install 'speed-benchmark[{name}]'"
        raise UserError("--engine", name, f"{', '.join(missing)} is not installed; run: {extra}")
    return engine
