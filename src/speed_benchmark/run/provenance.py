"""Which software makes a record: this tool, its commit, the command, the packages."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import speed_benchmark
from speed_benchmark.record.record import MEASUREMENT_VERSION, Provenance
from speed_benchmark.run.environment import steering


def provenance(packages: Mapping[str, str], prefixes: Sequence[str] = ()) -> Provenance:
    """The provenance of a record made by this process.

    `packages` are those that the worker really had, `prefixes` those of the variables that steer its engine.
    """
    return Provenance(
        tool_version=speed_benchmark.__version__,
        measurement_version=MEASUREMENT_VERSION,
        git_commit=_git_commit(),
        command=tuple(map(_storable, (Path(sys.argv[0]).name, *sys.argv[1:]))),
        python=platform.python_version(),
        packages=dict(packages),
        environment=dict(steering(prefixes)),
    )


def _storable(argument: str) -> str:
    """`argument` with each byte that is not UTF-8, as the name of a file may hold, in hexadecimal digits."""
    return os.fsencode(argument).decode(errors="backslashreplace")


@cache
def installed(names: tuple[str, ...]) -> Mapping[str, str]:
    """The versions of those of the packages called `names` that are installed here."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def _git_commit() -> str | None:
    """The commit of this tool's checkout, with `+` where files differ from it; None outside a checkout."""
    git = shutil.which("git")
    root = Path(__file__).resolve().parents[3]
    if git is None or not (root / ".git").exists():
        return None

    def ask(*arguments: str) -> str:
        done = subprocess.run([git, "-C", str(root), *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
        return done.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    return (commit + ("+" if ask("status", "--porcelain", "--", "src") else "")) or None
