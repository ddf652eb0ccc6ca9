"""What a sweep would do: its loads, what they need, whether it fits, and how long it takes."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from speed_benchmark.cell import Cell
from speed_benchmark.machine.device import Device, device
from speed_benchmark.models.shape import Shape
from speed_benchmark.run import estimate, known
from speed_benchmark.run.forecast import Range
from speed_benchmark.run.outlook import Outlook
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.resume import Survey, missing
from speed_benchmark.terminal import console as terminal

_GIB = 2**30
_WIDEST = 400
# Up to so many seconds, and minutes, a time is said in them.
_SECONDS, _MINUTES = 120, 120
_NAMES = ("model", "engine", "input", "batch", "GPUs")
_COLUMNS = (*_NAMES, "weights", "cache", "activations", "needs (GiB)", "fits", "tokens/s", "time")


def print_plan(groups: Sequence[LoadGroup], survey: Survey, rounds: int) -> None:
    """Print a line for each load that is missing of `groups` until each cell is there `rounds` times, and their sum."""
    found = survey.found
    left = list(missing(groups, found, rounds))
    outlook = Outlook(left, survey.folder)
    console = terminal()
    if left:
        _print_whole(console, _table([_row(group, outlook, number) for number, group in enumerate(left)]))
    cells = sum(len(group.cells) for group in left)
    console.print(f"{cells} cells in {len(left)} loads; {len(found)} are measured already")
    for line in (*survey.lines(), *known.notes(cell.model for group in left for cell in group.cells)):
        console.print(line, soft_wrap=True)
    if left:
        basis = "a rough guess until something is measured here"
        if outlook.records:
            basis = f"by {outlook.records} record{'s' * (outlook.records > 1)} of this machine"
        console.print(f"{time_range(outlook.total())} one after the other, {basis}", soft_wrap=True)


def time_range(seconds: Range) -> str:
    """From when to when something will be done, as `3 to 5 min`."""
    minutes = seconds.high >= _SECONDS
    hours = seconds.high >= 60 * _MINUTES
    size, unit = (3600, "h") if hours else (60, "min") if minutes else (1, "s")
    return f"{_range(seconds.low / size, seconds.high / size)} {unit}"


def _range(low: float, high: float) -> str:
    """Both figures with two digits, large ones whole; one where they are alike."""
    shown = [f"{value:.2g}" if value < 100 else f"{value:,.0f}" for value in (low, high)]
    return " to ".join(dict.fromkeys(shown))


def _row(group: LoadGroup, outlook: Outlook, number: int) -> tuple[str, ...]:
    """The line of `group`, which has this number in the outlook."""
    longest = group.cells[-1]
    name = (
        longest.model.model_id_or_path,
        longest.settings.engine,
        _listed([cell.workload.context_length for cell in group.cells]),
        str(longest.workload.batch_size),
        str(len(group.gpus) or "CPU"),
    )
    shape, seconds, speed = known.shape(longest.model), outlook.seconds(number), outlook.tokens_per_s(number)
    if shape is None or seconds is None:
        return (*name, "", "", "", "", "unknown", "", "unknown")
    on = device(group.gpus)
    memory = estimate.memory(longest, shape, on)
    parts = (memory.weight_bytes, memory.kv_cache_bytes, memory.activation_bytes, memory.total_bytes)
    fitting = [cell for cell in group.cells if estimate.misfit(cell, shape, on) is None]
    needs = (f"{part / _GIB:.2f}" for part in parts)
    speeds = _range(speed.low, speed.high) if speed else ""
    return (*name, *needs, _fits(group, fitting, shape, on), speeds, time_range(seconds) if fitting else "")


def _fits(group: LoadGroup, fitting: Sequence[Cell], shape: Shape, on: Device) -> str:
    """Whether all cells fit, how many do, or that it will be tight."""
    if len(fitting) < len(group.cells):
        return f"{len(fitting)} of {len(group.cells)}" if fitting else "no"
    return "yes" if estimate.fits(group.cells[-1], shape, on) else "tight"


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
