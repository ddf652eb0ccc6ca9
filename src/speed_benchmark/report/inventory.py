"""The verb `machine`: what this machine is, how it is doing, and what its devices can do at best."""

from collections.abc import Iterator

from pydantic import Field
from rich.table import Table

from speed_benchmark.errors import UserError
from speed_benchmark.machine import describe, host, idle, peaks
from speed_benchmark.record.base import Frozen
from speed_benchmark.record.machine import DevicePeaks, Machine, MachineState
from speed_benchmark.run.environment import worker_environment
from speed_benchmark.terminal import console, say


class Inventory(Frozen):
    """All that the verb says."""

    machine: Machine = Field(description="the hardware")
    state: MachineState = Field(description="how it is doing")
    busy: tuple[str, ...] = Field(default=(), description="why the GPUs are not idle")
    device_peaks: DevicePeaks = Field(description="what the device was measured to do at best")


def take(gpus: tuple[int, ...], *, again: bool = False) -> Inventory:
    """The inventory of the machine with `gpus`, none for the CPU; measures the peaks that are missing, or all `again`.

    Raises UserError where they can't be measured.
    """
    busy = idle.wait(gpus, 0.0, lambda: False)
    found = peaks.measured(gpus, worker_environment(gpus), keep=not busy, again=again)
    if found is None:
        raise UserError("machine", None, "PyTorch is needed to measure what the device can do; install an engine")
    return Inventory(
        machine=describe.describe(gpus), state=describe.observe(gpus), busy=tuple(busy), device_peaks=found
    )


def print_inventory(inventory: Inventory, *, as_json: bool = False) -> None:
    """Print it to standard output, as a table or as JSON."""
    if as_json:
        say(inventory.model_dump_json())
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _lines(inventory):
        table.add_row(name, value)
    console().print(table)


def _lines(inventory: Inventory) -> Iterator[tuple[str, str]]:
    """Name and value of each line."""
    here = inventory.machine
    yield "processor", f"{here.processor}, {here.cores} cores"
    yield "memory", f"{here.memory_bytes / 2**30:.1f} GiB"
    yield "system", here.system
    for gpu in here.gpus:
        limit = f", {gpu.power_limit_w:g} W" if gpu.power_limit_w else ""
        yield f"GPU {gpu.index}", f"{gpu.name}, {gpu.memory_bytes / 2**30:.1f} GiB{limit}"
    if here.driver:
        yield "driver", f"{here.driver}, CUDA up to {here.cuda}"
    for reason in inventory.busy:
        yield "busy", reason
    yield from _peak_lines(inventory.device_peaks)


def _peak_lines(measured: DevicePeaks) -> Iterator[tuple[str, str]]:
    yield "measured on", f"{measured.device}, PyTorch {measured.torch}"
    for size, bytes_per_s in measured.bandwidths:
        yield "peak bandwidth", f"{bytes_per_s / 1e9:,.1f} GB/s over {size / 2**20:,.0f} MiB"
    yield "peak FLOP/s", f"{measured.flops_per_s / 1e12:,.2f} TFLOP/s in {measured.matrix_dtype}"
    if measured.other_cores > host.QUIET_CORES:
        yield "", f"measured while others kept {measured.other_cores:.1f} cores busy; --again when it is quiet"
