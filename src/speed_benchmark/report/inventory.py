"""The verb `machine`: what this machine is, how it is doing, and what its devices can do at best."""

import sys

from rich.console import Console
from rich.table import Table

from speed_benchmark.errors import UserError
from speed_benchmark.machine import describe as machine
from speed_benchmark.machine import host, idle
from speed_benchmark.machine import peaks as rates
from speed_benchmark.record.record import Frozen, Machine, MachineState, Rates
from speed_benchmark.run.process import worker_environment


class Inventory(Frozen):
    """All that the verb says; `busy` is why the GPUs are not idle."""

    machine: Machine
    state: MachineState
    busy: tuple[str, ...]
    rates: Rates


def take(gpus: tuple[int, ...], *, again: bool = False) -> Inventory:
    """The inventory of the machine with `gpus`, none for the CPU; measures the rates that are missing, or all `again`.

    Raises UserError where they can't be measured.
    """
    busy = idle.wait(gpus, 0.0, lambda: False)
    found = rates.measured(gpus, worker_environment(gpus), keep=not busy, again=again)
    if found is None:
        raise UserError("machine", None, "PyTorch is needed to measure what the device can do; install an engine")
    return Inventory(machine=machine.describe(gpus), state=machine.observe(gpus), busy=busy, rates=found)


def print_inventory(inventory: Inventory, *, as_json: bool = False) -> None:
    """Print it to standard output, as a table or as JSON."""
    if as_json:
        sys.stdout.write(inventory.model_dump_json() + "\n")
        return
    here, measured = inventory.machine, inventory.rates
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("processor", f"{here.processor}, {here.cores} cores")
    table.add_row("memory", f"{here.memory_bytes / 2**30:.1f} GiB")
    table.add_row("system", here.system)
    for gpu in here.gpus:
        limit = f", {gpu.power_limit_w:g} W" if gpu.power_limit_w else ""
        table.add_row(f"GPU {gpu.index}", f"{gpu.name}, {gpu.memory_bytes / 2**30:.1f} GiB{limit}")
    if here.driver:
        table.add_row("driver", f"{here.driver}, CUDA up to {here.cuda}")
    for reason in inventory.busy:
        table.add_row("busy", reason)
    table.add_row("measured on", f"{measured.device}, PyTorch {measured.torch}")
    for size, rate in measured.bandwidths:
        table.add_row("bandwidth", f"{rate / 1e9:,.1f} GB/s over {size / 2**20:,.0f} MiB")
    table.add_row("matrix rate", f"{measured.flops_per_s / 1e12:,.2f} TFLOP/s in {measured.matrix_dtype}")
    if measured.other_cores > host.QUIET_CORES:
        table.add_row("", f"measured while others kept {measured.other_cores:.1f} cores busy; --again when it is quiet")
    Console(highlight=False, markup=False).print(table)
