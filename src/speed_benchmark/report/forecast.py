"""What a sweep would do: its loads, what they need, whether it fits, and how long it takes."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from speed_benchmark.record.store import Store
from speed_benchmark.run import estimate as predict
from speed_benchmark.run.plan import Load, known_config
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.resume import answered, missing

_GIB = 2**30
_WIDEST = 400


def print_forecast(loads: Sequence[Load], store: Store, policy: Policy) -> None:
    """Print a line for each load that is missing in `store`, and what they come to."""
    found = answered(loads, store, policy)
    left = list(missing(loads, Counter(record.cell_id for record, _ in found), policy.rounds))
    known = predict.calibration((record, known_config(record.cell.model)) for record, _ in found)
    columns = ("model", "engine", "input", "GPUs", "weights", "cache", "activations", "needs (GiB)", "fits", "time")
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in table.columns[2:8]:
        column.justify = "right"
    total_s = 0.0
    for load in left:
        row, load_s = _row(load, known)
        total_s += load_s
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if left:
        wanted = Measurement.get(console, console.options.update(width=_WIDEST), table).maximum
        console.width = max(console.width, wanted)  # wider than the terminal rather than cut
        console.print(table)
    cells = sum(len(load.cells) for load in left)
    console.print(f"{cells} cells in {len(left)} loads; {len(found)} are measured already")
    if left:
        basis = "scaled by what is measured already" if known else "a rough guess until something is measured here"
        console.print(f"about {timedelta(seconds=round(total_s))} one after the other, {basis}")


def _row(load: Load, known: dict[str, float]) -> tuple[list[str], float]:
    """The cells of the table's row for `load`, and its seconds."""
    longest = load.cells[-1]
    inputs = [str(cell.workload.context_length) for cell in load.cells]
    shown = ",".join(inputs) if len(inputs) <= 4 else f"{inputs[0]},…,{inputs[-1]} ({len(inputs)})"
    row = [longest.model.model_id_or_path, longest.settings.engine, shown, str(len(load.gpus) or "CPU")]
    config = known_config(longest.model)
    if config is None or not predict.known_shape(config):
        return [*row, "", "", "", "", "unknown", "unknown"], 0.0
    device = predict.device(load.gpus)
    need = predict.need(longest, config, device)
    parts = (need.weight_bytes, need.kv_cache_bytes, need.activation_bytes, need.total_bytes)
    fitting = [cell for cell in load.cells if predict.misfit(cell, config, device) is None]
    fits = "no" if not fitting else f"{len(fitting)} of {len(load.cells)}"
    if len(fitting) == len(load.cells):
        fits = "yes" if predict.fits(longest, config, device) else "tight"
    scale, processes = known.get(longest.settings.engine, 1.0), [cell.protocol.processes for cell in fitting]
    seconds = predict.load_s(longest, config) * max(processes, default=0) + scale * sum(
        predict.requests_s(cell, config, device) * cell.protocol.processes for cell in fitting
    )
    return [*row, *(f"{part / _GIB:.2f}" for part in parts), fits, str(timedelta(seconds=round(seconds)))], seconds
