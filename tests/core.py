"""An environment in which this tool is installed with its core dependencies alone, by links to those that are here."""

import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

TOOL = "speed-benchmark"


def environment(folder: Path) -> Path:
    """Make one in `folder`; returns its interpreter."""
    builder = venv.EnvBuilder(symlinks=True)
    builder.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    for one in {found.name: found for found in closure(TOOL)}.values():
        for name in {file.parts[0] for file in one.files or () if file.parts[0] not in ("..", "__pycache__")}:
            (packages / name).symlink_to(Path(str(one.locate_file(name))))
    return folder / "bin" / "python"


def closure(name: str, extras: frozenset[str] = frozenset()) -> Iterator[Distribution]:
    """A distribution, and all that it needs without an extra of its own."""
    found = distribution(name)
    yield found
    for needed in map(Requirement, found.requires or ()):
        if any(needed.marker is None or needed.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield from closure(needed.name, frozenset(needed.extras))
