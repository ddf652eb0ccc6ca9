"""Suites: many cells asked for at once, by a TOML file, by flags, or by both.

Every value may be a list (`a,b`), a range (`1-8*2`, `1024-8192+1024`), or have braces (`Qwen2.5-{7B,14B}`); in TOML a
list is one too. Each `[[grid]]` is the product of its axes and of the axes at the top; a flag replaces its key
everywhere.
"""

import difflib
import itertools
import math
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import bracex

from speed_benchmark.cell import EngineSettings, Model, Protocol, Workload, options
from speed_benchmark.errors import UserError
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.options import applies, engine_options, kinds
from speed_benchmark.run.policy import Policy

MAX_CELLS = 100_000
MAX_PATTERNS = 10_000  # of what is left out
MAX_BYTES = 1_000_000  # of a suite
MAX_CHARACTERS = 4096  # of the text of an axis, before it is expanded
MAX_EXPANDED = 10_000_000  # of all its values
SETTINGS = (*options(Policy, Limits), "outputs_dir")
# What decides the load comes first, so that cells of one load are listed together.
AXES = (*options(Model, EngineSettings), *engine_options(), "gpus", *options(Protocol, Workload))
# Input lengths by another name: 0 is one token, for a request needs a prompt.
DEPTH = "depth"
# Tokens to generate at a depth where nothing else is said: so few that they are all at about that depth, and enough for
# the 90th percentile of the gaps (64) beyond those in which decoding settles (24).
DEPTH_TOKENS = 128
# Those of whole numbers, where a-b is a range.
NUMBERS = tuple(name for name, kind in kinds().items() if kind is int)
_RANGE = re.compile(r"(\d{1,12})-(\d{1,12})(?:([*+])(\d{1,12}))?")
# In TOML, texts and comments. The dots outside of them are those of numbers and of keys like a.b.c, for whose parts
# tomllib takes memory by the square.
_TEXTS = re.compile(
    "|".join(
        (
            r'"""(?:\\.|[^\\])*?"{3,5}(?!")',
            r"'''.*?'{3,5}(?!')",
            r'"(?:\\.|[^"\\\n])*"',
            r"'[^'\n]*'",
            r"#[^\n]*",
        )
    ),
    re.DOTALL,
)
_MAX_DOTS = 1000
_MAX_REASON = 200
_TOO_MANY = f"stands for more than {MAX_CELLS:,} values, or for many long ones"

Point = dict[str, str]
Axes = dict[str, Sequence[str]]


@dataclass(frozen=True)
class Suite:
    """A sum of grids, less what is excluded, and the settings of the sweep.

    `grids` map an axis to its values, `exclusions` an axis to the patterns of what is left out, `settings` are values
    of Policy, Limits and outputs_dir.
    """

    name: str
    grids: tuple[Axes, ...]
    exclusions: tuple[Axes, ...]
    settings: dict[str, Any]

    @property
    def outputs_dir(self) -> Path:
        """Where its records go: the folder it names, one of its engine's name, or one of its own name."""
        engines = {engine for grid in self.grids for engine in grid.get("engine", ())}
        name = engines.pop() if len(engines) == 1 and not self.name else self.name or "sweep"
        return Path(self.settings.get("outputs_dir") or Path("outputs") / name)

    def points(self) -> Iterator[Point]:
        """Every combination of values, by the names of their flags."""
        for product in itertools.chain.from_iterable(map(_by_engine, self.grids)):
            for values in itertools.product(*product.values()):
                yield dict(zip(product, values, strict=True))

    def excludes(self, values: Mapping[str, object]) -> bool:
        """Whether a cell with `values` (axis -> value) is left out."""
        return any(
            all(
                any(fnmatchcase(_text(values.get(axis)), pattern) for pattern in patterns)
                for axis, patterns in rule.items()
            )
            for rule in self.exclusions
        )


def combine(file: Path | None, flags: Mapping[str, Any]) -> Suite:
    """The suite in `file` with the `flags` that are given (not None) in place of its keys.

    Raises UserError for a file that can't be read or has unknown keys, for axes that make no sense, and for more than
    MAX_CELLS.
    """
    content = _read(file) if file else {}
    given = {name: value for name, value in flags.items() if value is not None}
    merged = content | given
    outputs_dir = merged.get("outputs_dir", "")
    if not isinstance(outputs_dir, str) or "\0" in outputs_dir:
        raise UserError("--outputs_dir", outputs_dir, "takes the name of a folder")
    return Suite(
        name=file.stem if file else "",
        grids=_grids(content, given),
        exclusions=_exclusions(merged.get("exclude", [])),
        settings={name: merged[name] for name in SETTINGS if name in merged},
    )


def find(name: str) -> Path:
    """The file of the suite `name`: a path, or one of those that come with this package. Raises UserError."""
    if os.path.isfile(name):  # noqa: PTH113 - pathlib raises
        return Path(name)
    shipped = {file.stem: file for file in sorted(_shipped_folder().glob("*.toml"))}
    found = shipped.get(Path(name).stem)
    if found is None or Path(name).parent not in (Path(), Path("suites")):
        raise UserError("suite", name, f"no such file; name one, or one of those that are here: {', '.join(shipped)}")
    return found


def _shipped_folder() -> Path:
    """Inside the package where it was installed from a wheel, beside the sources in a checkout."""
    inside = Path(__file__).parents[1] / "suites"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "suites"


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content_bytes = opened.read(MAX_BYTES + 1)
        if len(content_bytes) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
        text = content_bytes.decode()
        if _TEXTS.sub("", text).count(".") > _MAX_DOTS:
            raise ValueError(f"it has more than {_MAX_DOTS:,} dots outside of texts")
        content = tomllib.loads(text)
        str(content)  # raises where it holds an integer of too many digits, which may stand there in hexadecimal
    except (OSError, ValueError, RecursionError) as error:
        raise UserError("suite", file, f"can't be read: {str(error)[:_MAX_REASON]}") from None
    _check_keys(file, content, (*AXES, DEPTH, *SETTINGS, "exclude", "grid"))
    grids = content.get("grid", [{}])
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise UserError(f"grid in {file}", grids, "write each grid as a table: [[grid]]")
    for grid in grids:
        _check_keys(file, grid, (*AXES, DEPTH))
    return content


def _check_keys(where: object, content: Mapping[str, object], known: Sequence[str]) -> None:
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key.replace("-", "_"), known, n=1, cutoff=0.5)
            raise UserError(str(where), key, f"no such key; {f'did you mean {near[0]}?' if near else 'see --help'}")


def _grids(content: Mapping[str, Any], given: Mapping[str, object]) -> tuple[Axes, ...]:
    """The axes of each grid: its own, and those of the top of a suite's `content`; those `given` replace both."""
    top, flags, grids, cells = _axes(content, given), _axes(given, {}), [], 0
    for own in content.get("grid", [{}]):
        merged = _at_depths(top | _axes(own, given) | flags)
        grids.append({axis: merged[axis] for axis in AXES if axis in merged})
        cells += sum(math.prod(map(len, product.values())) for product in _by_engine(grids[-1]))
        if cells > MAX_CELLS:
            raise UserError("suite", f"of {cells:,} cells or more", f"the most is {MAX_CELLS:,}; shorten its lists")
    return tuple(grids)


def _axes(asked: Mapping[str, object], without: Collection[str]) -> Axes:
    return {axis: _values(axis, asked[axis]) for axis in (*AXES, DEPTH) if axis in asked and axis not in without}


def _at_depths(axes: Axes) -> Axes:
    """`axes` with the depths, where they are given, as the input lengths that they are."""
    depths = axes.get(DEPTH)
    if depths is None:
        return axes
    if "context_length" in axes:
        raise UserError("--depth", ",".join(depths), "takes the place of --context_length; give one of the two")
    for depth in depths:
        if not depth.isdecimal():
            raise UserError("--depth", depth, "takes whole numbers from 0 up")
    lengths = tuple(dict.fromkeys("1" if int(depth) == 0 else depth for depth in depths))
    rest = {axis: values for axis, values in axes.items() if axis != DEPTH}
    return {"generate_length": (str(DEPTH_TOKENS),)} | rest | {"context_length": lengths}


def _by_engine(grid: Axes) -> list[Axes]:
    """The products that a grid stands for: one for each engine, with the settings that apply to it.

    A setting that applies to none of the engines stays, to be refused with its reason.
    """
    engines = grid.get("engine", ())
    if len(engines) < 2:
        return [grid]
    return [
        {
            axis: (engine,) if axis == "engine" else values
            for axis, values in grid.items()
            if applies(axis, engine) or not any(applies(axis, other) for other in engines)
        }
        for engine in engines
    ]


def _exclusions(given: object) -> tuple[Axes, ...]:
    """What is left out; each cell is held against all of it."""
    rules, patterns = [], 0
    for rule in _listed(given):
        rules.append(_exclusion(rule))
        patterns += sum(map(len, rules[-1].values()))
        if patterns > MAX_PATTERNS:
            raise UserError("--exclude", rule, f"with it there are more than {MAX_PATTERNS:,} patterns; use * in them")
    return tuple(rules)


def _exclusion(rule: object) -> Axes:
    """`axis=patterns; axis=patterns`: what is left out matches all of them."""
    parts = [part.partition("=") for part in str(rule).split(";") if part.strip()]
    if not parts or any(not equals for _, equals, _ in parts):
        raise UserError("--exclude", rule, "write it as key=values; key=values, where * stands for any text")
    found = {axis.strip(): _values(axis.strip(), values.strip()) for axis, _, values in parts}
    _check_keys("--exclude", found, AXES)
    return found


def _values(axis: str, given: object) -> Sequence[str]:
    """The values of `axis`, each once, in order; `given` is text, a number, a truth value, or a list of these."""
    expanded: list[str] = []
    characters = 0
    for item in _listed(given):
        if not isinstance(item, str | int | float):
            raise UserError(f"--{axis}", item, "takes text, a number, true, false, or a list of these")
        for value in _expand(axis, _text(item)):
            expanded.append(value)
            characters += len(value)
            if len(expanded) > MAX_CELLS or characters > MAX_EXPANDED:
                raise UserError(f"--{axis}", given, _TOO_MANY)
    return tuple(dict.fromkeys(expanded))


def _expand(axis: str, text: str) -> Iterator[str]:
    if axis == "gpus" or (axis == "model_id_or_path" and os.path.exists(text)):  # noqa: PTH110 - pathlib raises
        yield text  # its commas name the GPUs of one cell; a folder may have any name
        return
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"--{axis}", text, f"is longer than {MAX_CHARACTERS:,} characters; write a list in a suite")
    limit = min(MAX_CELLS + 1, MAX_EXPANDED // max(1, len(text)))  # no value is longer than the text
    try:
        parts = bracex.expand(f"{{{text},}}", limit=limit) if text else [text]
    except bracex.ExpansionLimitException:
        raise UserError(f"--{axis}", text, _TOO_MANY) from None
    except RecursionError:
        raise UserError(f"--{axis}", text, "has too many braces in one another") from None
    for part in parts:
        matched = _RANGE.fullmatch(part.strip())
        if matched and axis in (*NUMBERS, DEPTH):
            yield from map(str, _range(axis, *matched.groups()))
        else:
            yield part.strip()


def _range(axis: str, first: str, last: str, sign: str | None, step: str | None) -> Iterator[int]:
    """`first-last`, `first-last+step`, `first-last*factor`; both ends are in it where a step hits them."""
    value, end, by = int(first), int(last), int(step or 1)
    if value > end or by < 1 or (sign == "*" and (by < 2 or value < 1)):
        shown = f"{first}-{last}{sign or ''}{step or ''}"
        raise UserError(
            f"--{axis}", shown, "a range rises from its first to its last value, like 1-8*2 or 1024-8192+1024"
        )
    while value <= end:
        yield value
        value = value * by if sign == "*" else value + by


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(value: object) -> str:
    """A value as its flag would give it."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
