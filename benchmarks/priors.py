"""Priors of how long engines take beside the roofline, from records of any machines, and how good they are.

Writes `priors.toml` of each engine that has records, and the one of what is alike for all engines. With --check it
writes nothing, but forecasts each cell of each folder and prints the time forecast over the time measured: from records
of other machines alone; with the first record of its machine that is of another cell; and with every other one of
these. Exits 1 where the median of a folder is off by more than a quarter even with those.

Machines are told apart by their boot, where it is known, and by their peaks, which are measured once on each: virtual
machines that are made from one image may share the identity of a host.

usage: python -m benchmarks.priors FOLDER... [--check]
"""

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, median

import numpy as np

from speed_benchmark.engines import priors, registry
from speed_benchmark.engines.priors import Constant, Kinds, Spreads
from speed_benchmark.machine.device import Device
from speed_benchmark.models import published
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes import shipped
from speed_benchmark.record.folder import records
from speed_benchmark.record.format import DamagedRecordError
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.run import forecast
from speed_benchmark.run.forecast import Belief, Observation, Priors

WITHIN = 0.25
# Where the search for spreads begins, and the least that is believed of each, however well few records fit: hosts lie
# 1.3 to 1.7 apart; repeats of one record do by a tenth where its host has two paces; how much of its peaks a prefill
# reaches depends on more than the model of a step knows.
START = Spreads(host=0.3, kind=0.2, prefill=0.2, decode=0.1, device=0.3, load=0.4, first=0.2)
LEAST = Spreads(host=0.2, kind=0.1, prefill=0.2, decode=0.07, device=0.15, load=0.3, first=0.2)
ROUNDS = 6
# What records don't say of their cards: the compute capability.
CAPABILITIES = {"H100": (9, 0), "H200": (9, 0)}
Learnt = tuple[Mapping[str, Kinds], Spreads]


@dataclass(frozen=True)
class Seen:
    """A record that can be learnt from, and what it needs for that."""

    folder: str
    record: Record
    shape: Shape
    device: Device
    machine: str
    is_first: bool

    @property
    def measured_s(self) -> float:
        """Seconds of one repeat."""
        windows = defaultdict(list)
        for sample in self.record.samples:
            windows[sample.window].append(sample.duration_s)
        return sum(map(fmean, windows.values()))

    @property
    def asked(self) -> tuple[object, ...]:
        """What the time of its request depends on."""
        cell = self.record.cell
        return cell.model, cell.workload, cell.settings.engine, str(sorted(cell.settings.options.items()))

    @property
    def kind(self) -> str:
        """How its engine ran."""
        own = registry.settings_of(self.record.cell.settings)
        return own.kinds(self.device, quantized=self.shape.is_quantized)[0]

    def name(self) -> str:
        """The cell, for people."""
        cell = self.record.cell
        lengths = f"{cell.workload.context_length}+{cell.workload.generate_length} x{cell.workload.batch_size}"
        quick = " quick" if cell.protocol.quick else ""
        return f"{cell.settings.engine} {self.kind} {cell.model.model_id_or_path.rpartition('/')[2]} {lengths}{quick}"


def seen(folders: Iterable[Path]) -> Iterator[Seen]:
    """The records below `folders` that ended well, of a model whose shape is known and a device whose peaks are."""
    loads: set[float | None] = set()
    for folder in folders:
        for path, record in sorted(records(folder), key=_moment):
            if not isinstance(record, Record):
                sys.exit(f"{path}: {record}")
            entry = published.lookup(record.cell.model.model_id_or_path)
            shape = entry and shipped.shape(entry.config)
            simulated = registry.settings_of(record.cell.settings).traits.simulated
            if record.outcome is Outcome.OK and record.samples and record.device_peaks and shape and not simulated:
                machine, is_first = machine_of(record), record.load_s not in loads
                loads.add(record.load_s)
                yield Seen(folder.name, record, shape, device_of(record), machine, is_first)


def _moment(found: tuple[Path, Record | DamagedRecordError]) -> str:
    return found[1].created_at if isinstance(found[1], Record) else ""


def machine_of(record: Record) -> str:
    """What tells the machine of a record from others."""
    assert record.device_peaks is not None
    return str((record.machine.boot_id, record.device_peaks.bandwidths, record.device_peaks.flops_per_s))


def device_of(record: Record) -> Device:
    """The device of a record, as far as constants depend on it."""
    gpus = record.machine.gpus
    if not gpus:
        return Device(0, record.machine.memory_bytes, 0.0)
    capability = next((found for name, found in CAPABILITIES.items() if name in gpus[0].name), (0, 0))
    return Device(len(gpus), gpus[0].memory_bytes, 0.0, gpus[0].name, capability)


def observations(found: Iterable[Seen], known: Priors, machine: Callable[[Seen], str]) -> list[Observation]:
    """Their figures, with constants of these priors and factors of each machine, which has a name."""
    return [
        figure
        for one in found
        for unknown in [
            forecast.constants(one.record.cell.settings, one.shape, one.device, known, machine=machine(one))
        ]
        for figure in forecast.observed(one.record, one.shape, unknown, is_first=one.is_first)
    ]


def learn(found: Sequence[Seen]) -> Learnt:
    """Engine -> kind -> constants, and spreads: what makes the figures likeliest (by expectation and maximization)."""
    spreads = START
    for _ in range(ROUNDS):
        figures = observations(found, Priors(lambda _: {}, spreads), lambda one: one.machine)
        belief = Belief.of((one.term for one in figures), spreads).after(figures)
        spreads = likeliest(belief, figures)
    kinds: dict[str, dict[str, dict[str, Constant]]] = defaultdict(lambda: defaultdict(dict))
    variances = np.diag(belief.covariance)
    for (name, field), log, variance in zip(belief.logs, belief.logs.values(), variances, strict=True):
        if field in forecast.FIELDS:
            engine, kind = name.split(" ", 1)
            kinds[engine][kind][field] = Constant(math.exp(log), math.sqrt(variance))
    return kinds, spreads


def likeliest(belief: Belief, figures: Sequence[Observation]) -> Spreads:
    """The spreads that fit what is left of the figures, and the hosts."""
    values, slopes = belief.linear([one.term for one in figures])
    left = np.log([one.measured_s for one in figures]) - np.log(values)
    squares = left**2 + np.einsum("ij,jk,ik->i", slopes, belief.covariance, slopes)
    of_quantity: dict[str, list[float]] = defaultdict(list)
    for square, one in zip(squares.tolist(), figures, strict=True):
        of_quantity[one.term.quantity].append(square)
    found = {quantity: math.sqrt(fmean(own)) for quantity, own in of_quantity.items()}
    logs, variances = np.array(list(belief.logs.values())), np.diag(belief.covariance)
    of_hosts = np.array([field == "host" for _, field in belief.logs])
    of_kinds = np.array([field != "host" and field not in forecast.FIELDS for _, field in belief.logs])
    for factor, of_factor in (("host", of_hosts), ("kind", of_kinds)):
        found[factor] = math.sqrt((logs**2 + variances)[of_factor].mean())
    return Spreads(**{name: max(getattr(LEAST, name), value) for name, value in (asdict(START) | found).items()})


def predicted(one: Seen, learnt: Learnt, own: Sequence[Seen]) -> forecast.Range:
    """The time of one repeat, by what was learnt on other machines and these records of its own."""
    kinds, spreads = learnt
    known = Priors(lambda settings: kinds.get(settings.engine, {}), spreads)
    figures = observations(own, known, lambda _: forecast.HERE)
    terms = forecast.of_request(one.record.cell, one.shape, one.device, one.record.device_peaks, known)
    belief = Belief.of([*terms, *(figure.term for figure in figures)], spreads).after(figures)
    return belief.range_of(belief.sum_of(terms))


def own_records(one: Seen, found: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Of its machine, but of other cells: the first record, and every other one."""
    others = [
        other
        for other in sorted(found, key=lambda seen: seen.record.created_at)
        if other.machine == one.machine and other.asked != one.asked
    ]
    return others[:1], others[::2]


def check(found: Sequence[Seen]) -> int:
    """Print how good forecasts are; 1 where a folder's are not, even with records of its machine."""
    elsewhere = {
        machine: learn([one for one in found if one.machine != machine]) for machine in {one.machine for one in found}
    }
    worst = 0.0
    for folder in sorted({one.folder for one in found}):
        print(f"\n{folder}\n  forecast / measured, and whether the range (8 in 10) holds what was measured")
        print(f"  {'others':>12} {'+ one':>12} {'+ half':>12}")
        columns: list[list[float]] = [[], [], []]
        held = [0, 0, 0]
        cells = [one for one in found if one.folder == folder]
        for one in cells:
            shown = []
            for column, own in enumerate(([], *own_records(one, found))):
                guess = predicted(one, elsewhere[one.machine], own)
                is_held = guess.low <= one.measured_s <= guess.high
                columns[column].append(guess.middle / one.measured_s)
                held[column] += is_held
                width = guess.high / guess.middle
                shown.append(f"{columns[column][-1]:.2f} x{width:.2f}{' ' if is_held else '!'}")
            print("  " + " ".join(f"{text:>12}" for text in shown), f" {one.measured_s:7.2f} s  {one.name()}")
        medians = [median(ratios) for ratios in columns]
        print("  " + " ".join(f"{value:12.2f}" for value in medians), "  median")
        print("  " + " ".join(f"{count:5} of {len(cells):<3}" for count in held), "  held")
        worst = max(worst, abs(medians[2] - 1))
    print(f"\nlargest error of a folder's median with half of its machine's records: {worst:.0%}")
    return int(worst > WITHIN)


def files_of(found: Sequence[Seen]) -> dict[Path, str]:
    """The files of the engines, and the one of the spreads, with what they should say."""
    kinds, spreads = learn(found)
    note = "# Made by `python -m benchmarks.priors`: the middle of each constant, and the spread of its logarithm.\n"
    texts = {}
    for engine, of_engine in sorted(kinds.items()):
        text = note
        for kind, constants in sorted(of_engine.items()):
            own = [one for one in found if (one.record.cell.settings.engine, one.kind) == (engine, kind)]
            text += f'\n["{kind}"]\nrecords = {len(own)}\nmachines = {len({one.machine for one in own})}\n'
            text += "".join(
                f"{name} = [{one.value:.2g}, {one.spread:.2f}]\n" for name, one in sorted(constants.items())
            )
        texts[priors.file_of(registry.settings_class(engine))] = text
    text = "# Made by `python -m benchmarks.priors`: spreads of logarithms, over all engines.\n"
    text += "".join(f"{one.name} = {getattr(spreads, one.name):.2f}\n" for one in fields(Spreads))
    return {**texts, Path(priors.__file__).with_name(priors.FILE_NAME): text}


def main() -> int:
    """Learn from the folders, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--check", action="store_true", help="forecast what is known, and write nothing")
    asked = parser.parse_args()
    found = sorted(seen(asked.folders), key=lambda one: one.record.created_at)
    if asked.check:
        return check(found)
    for file, text in files_of(found).items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
