"""What a sweep would do: its loads, what they need, whether it fits, and how long it takes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from speed_benchmark.cell import Cell
from speed_benchmark.machine.device import Device, device
from speed_benchmark.models.config import Config
from speed_benchmark.record.folder import read
from speed_benchmark.record.record import Record
from speed_benchmark.run import estimate
from speed_benchmark.run.plan import LoadGroup, known_config
from speed_benchmark.run.resume import Survey, missing
from speed_benchmark.run.stored import Stored
from speed_benchmark.terminal import console as terminal

_GIB = 2**30
_WIDEST = 400
_LONGEST_S = 10**13  # of what a timedelta can say
_NAMES = ("model", "engine", "input", "batch", "GPUs")
_COLUMNS = (*_NAMES, "weights", "cache", "activations", "needs (GiB)", "fits", "time")


@dataclass(frozen=True)
class _Row:
    """A line of the table, and the seconds of its load; 0 where they are unknown."""

    cells: tuple[str, ...]
    seconds: float


def print_plan(groups: Sequence[LoadGroup], survey: Survey, rounds: int) -> None:
    """Print a line for each load that is missing of `groups` until each cell is there `rounds` times, and their sum."""
    found = survey.found
    left = list(missing(groups, found, rounds))
    scales = estimate.calibration(_with_configs(found))
    rows = [_row(group, scales) for group in left]
    console = terminal()
    if left:
        _print_whole(console, _table([row.cells for row in rows]))
    cells = sum(len(group.cells) for group in left)
    console.print(f"{cells} cells in {len(left)} loads; {len(found)} are measured already")
    for line in survey.lines():
        console.print(line, soft_wrap=True)
    if left:
        basis = "scaled by what is measured already" if scales else "a rough guess until something is measured here"
        seconds = sum(row.seconds for row in rows)
        console.print(f"about {timedelta(seconds=min(round(seconds), _LONGEST_S))} one after the other, {basis}")


def _with_configs(found: Iterable[Stored]) -> Iterator[tuple[Record, Config | None]]:
    """Each stored record with its model's config; one at a time, for there may be many."""
    for one in found:
        record = read(one.path)
        yield record, known_config(record.cell.model)


def _row(group: LoadGroup, scales: dict[str, float]) -> _Row:
    """The line of `group`; `scales` is what measured times are to estimated ones, by engine."""
    longest = group.cells[-1]
    name = (
        longest.model.model_id_or_path,
        longest.settings.engine,
        _listed([cell.workload.context_length for cell in group.cells]),
        str(longest.workload.batch_size),
        str(len(group.gpus) or "CPU"),
    )
    config = known_config(longest.model)
    if config is None or not estimate.known_shape(config):
        return _Row((*name, "", "", "", "", "unknown", "unknown"), 0.0)
    on = device(group.gpus)
    memory = estimate.memory(longest, config, on)
    parts = (memory.weight_bytes, memory.kv_cache_bytes, memory.activation_bytes, memory.total_bytes)
    fitting = [cell for cell in group.cells if estimate.misfit(cell, config, on) is None]
    seconds = _seconds(fitting, config, on, scales)
    shown = (*(f"{part / _GIB:.2f}" for part in parts), _fits(group, fitting, config, on))
    return _Row((*name, *shown, str(timedelta(seconds=min(round(seconds), _LONGEST_S)))), seconds)


def _fits(group: LoadGroup, fitting: Sequence[Cell], config: Config, on: Device) -> str:
    """Whether all cells fit, how many do, or that it will be tight."""
    if len(fitting) < len(group.cells):
        return f"{len(fitting)} of {len(group.cells)}" if fitting else "no"
    return "yes" if estimate.fits(group.cells[-1], config, on) else "tight"


def _seconds(cells: Sequence[Cell], config: Config, on: Device, scales: dict[str, float]) -> float:
    """How long the cells of one load take, each in as many processes as it asks for."""
    if not cells:
        return 0.0
    loads_s = estimate.load_s(cells[-1], config, on) * max(cell.protocol.processes for cell in cells)
    requests_s = sum(estimate.requests_s(cell, config, on) * cell.protocol.processes for cell in cells)
    return loads_s + scales.get(cells[-1].settings.engine, 1.0) * requests_s


def _listed(inputs: Sequence[int]) -> str:
    shown = [str(tokens) for tokens in inputs]
    return ",".join(shown) if len(shown) <= 4 else f"{shown[0]},…,{shown[-1]} ({len(shown)})"


def _table(rows: Sequence[Sequence[str]]) -> Table:
    """The table; the batch size is a column where it is not 1 everywhere."""
    batched = {row[_COLUMNS.index("batch")] for row in rows} != {"1"}
    kept = [index for index, column in enumerate(_COLUMNS) if batched or column != "batch"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index in kept:
        text = _COLUMNS[index] in ("model", "engine", "fits", "time")
        table.add_column(_COLUMNS[index], justify="left" if text else "right")
    for row in rows:
        table.add_row(*(row[index] for index in kept))
    return table


def _print_whole(console: Console, table: Table) -> None:
    """Print the table wider than the terminal rather than cut."""
    wanted = Measurement.get(console, console.options.update(width=_WIDEST), table).maximum
    console.width = max(console.width, wanted)
    console.print(table)
