"""Where this user's caches are."""

import os
from pathlib import Path


def folder(*names: str) -> Path:
    """A folder below `$XDG_CACHE_HOME/speed-benchmark`, or below `~/.cache/speed-benchmark` where that is not set."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache").joinpath("speed-benchmark", *names)
