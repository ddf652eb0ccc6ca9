"""What would decide a cell that a gate could not decide: the command that measures it again, or why none would.

An interval of the ratio that leaves out the limit needs each side to be known to half the distance between them, so
that both together stay within it. A side is measured again in new processes, for those don't depend on each other;
that is worth it while `--precision` can reach what is needed.
"""

import math
import os
import re
import shlex
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.special import stdtrit

from speed_benchmark.cell import (
    INTERVAL_REPEATS,
    MAX_REPEATS,
    MAX_SECONDS,
    Cell,
    EngineSettings,
    OptionValue,
    Protocol,
    options,
)
from speed_benchmark.engines import registry
from speed_benchmark.errors import UserError
from speed_benchmark.judge.statistics import CONFIDENCE, INTERVAL_PROCESSES, dependent, repeats_needed
from speed_benchmark.report.compare import Comparison, Measured

# No command asks for a precision worse than that of a measurement of which nothing is said.
_COARSEST = 0.02
# Estimates from few repeats are rough: so much longer than estimated it may take.
_SPARE_TIME = 2
# The score of a normal value that 95 % stay below, to either side.
_NORMAL = 1.96
_SPECIAL = re.compile(r"([\\{},])")


@dataclass(frozen=True)
class Effort:
    """How one side of an undecided cell must be measured again: so many processes, each to `precision`.

    `repeats` is about how many repeats each will take.
    """

    precision: float
    processes: int
    repeats: int

    @property
    def is_possible(self) -> bool:
        """Whether `--precision` reaches it with the most repeats that it makes where nothing else is said."""
        return self.repeats <= MAX_REPEATS and self.processes <= MAX_REPEATS


def effort(cell: Comparison, records: Sequence[Measured], max_regression: float) -> Effort | None:
    """How the `records` of one side of a compared cell must be measured again; None where they are known enough."""
    assert cell.ratio is not None  # noqa: S101 - it is compared
    distance = abs(math.log(cell.ratio.value / cell.limit(max_regression)))
    wanted = max(distance / math.sqrt(2), 1e-6)
    means = [statistics.fmean(map(math.log, speeds)) for speeds in _processes(records)]
    longest = max(_processes(cell.before + cell.after), key=len)
    spread = statistics.stdev(map(math.log, longest)) if len(longest) > 1 else wanted
    error = statistics.stdev(means) if len(means) > 1 else spread / math.sqrt(len(_processes(records)[0]))
    if len(means) >= INTERVAL_PROCESSES and _half_width(error, len(means)) <= wanted:
        return None
    if len(means) == 1 and _known(_processes(records)[0], wanted):
        return None
    precision = min(wanted / 2, _COARSEST)
    repeats = repeats_needed(longest, precision) if len(longest) > 1 else 0
    return Effort(precision, _more_processes(len(means), error, precision, wanted), repeats)


def command(cells: Sequence[Measured], efforts: Sequence[Effort], folder: Path) -> str:
    """The command that measures again `cells`, which differ in their input alone, for a shell."""
    first, protocol = cells[0], cells[0].asked.protocol
    flags: dict[str, object] = dict(asked(first.asked))
    flags["context_length"] = ",".join(str(cell.asked.workload.context_length) for cell in cells)
    if first.gpus:
        flags["gpus"] = ",".join(map(str, first.gpus))
    flags |= {name: getattr(protocol, name) for name in ("warmups", "quick", "audit")}
    flags["processes"] = max(one.processes for one in efforts)
    flags["precision"] = _percent(min(one.precision for one in efforts))
    longest_s = max(one.repeats * cell.request_s for one, cell in zip(efforts, cells, strict=True))
    if _SPARE_TIME * longest_s > MAX_SECONDS:
        flags["max_seconds"] = math.ceil(_SPARE_TIME * longest_s)
    flags |= {"retry": "all", "outputs_dir": folder}
    defaults = {name: default for name, (_, _, default) in options(Protocol).items()}
    words = ["speed-benchmark", "run"]
    for name, value in flags.items():
        if value != defaults.get(name):
            words += _flag(name, value)
    shown = shlex.join(words)
    return f"CUDA_VISIBLE_DEVICES= {shown}" if first.machine.driver and not first.gpus else shown


def asked(cell: Cell) -> Iterator[tuple[str, OptionValue]]:
    """Flag -> value of what is measured, where it is not the default; its text as the command line takes it."""
    own = _own(cell.settings)
    for group in (cell.model, cell.workload, cell.settings, own):
        for name, (_, _, default) in options(type(group)).items() if group else ():
            value = getattr(group, name)
            if value is not None and value != default:
                yield name, _literal(name, value)
    if own is None:
        yield from cell.settings.options.items()


def same_but_length(one: Measured, other: Measured) -> bool:
    """Whether one command can measure both."""
    return _but_length(one) == _but_length(other)


def _own(settings: EngineSettings) -> object | None:
    """The engine's own settings; None of an engine that is unknown here."""
    try:
        return registry.settings_of(settings)
    except UserError:
        return None


def _but_length(record: Measured) -> tuple[object, ...]:
    flags = {name: value for name, value in asked(record.asked) if name != "context_length"}
    protocol = record.asked.protocol
    return (flags, record.gpus, protocol.warmups, protocol.quick, protocol.audit, record.row.software)


def _literal(name: str, value: OptionValue) -> OptionValue:
    """`value` as the command line takes it, where braces and commas list several, but in the name of a folder."""
    if not isinstance(value, str) or (name == "model_id_or_path" and os.path.exists(value)):  # noqa: PTH110 - pathlib raises
        return value
    return _SPECIAL.sub(r"\\\1", value)


def _flag(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    text = str(value)
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]


def _percent(share: float) -> str:
    """A share in percent, to two digits, rounded down: what is asked for must suffice."""
    step = 10.0 ** (math.floor(math.log10(share * 100)) - 1)
    return f"{math.floor(share * 100 / step + 1e-9) * step:.6g}%"


def _processes(records: Sequence[Measured]) -> list[tuple[float, ...]]:
    return [speeds for record in records for speeds in record.speeds.values()]


def _known(speeds: Sequence[float], wanted: float) -> bool:
    """Whether a single process gives an interval that is narrow enough."""
    if len(speeds) < INTERVAL_REPEATS or dependent(speeds):
        return False
    return _half_width(statistics.stdev(map(math.log, speeds)), len(speeds)) <= wanted


def _half_width(spread: float, count: int) -> float:
    return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(count)


def _more_processes(count: int, error: float, precision: float, wanted: float) -> int:
    """How many further processes, each known to `precision`, make the interval over all narrow enough.

    `count` are there, and one of them is off by `error`.
    """
    for more in range(max(1, INTERVAL_PROCESSES - count), MAX_REPEATS + 1):
        new = error if count > 1 else precision / _NORMAL
        spread = math.sqrt((count * error**2 + more * new**2) / (count + more))
        if _half_width(spread, count + more) <= wanted:
            return more
    return MAX_REPEATS + 1
