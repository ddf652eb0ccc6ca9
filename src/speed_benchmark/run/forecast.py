"""How long cells will take, as a range: the roofline of their steps, and what an engine takes beside on this machine.

The constants of an engine's overhead are unknowns, normal in their logarithms: shipped priors give their middles and
spreads, and records of this machine move them and make them narrower, by least squares in which prior and figure count
by the inverse of their variance. So a few records move a constant as far as they are surer than the prior; and hosts,
which other records show to lie far apart, make a wide range until a record shows which one this is.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from statistics import fmean
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from speed_benchmark.cell import QUICK_WINDOW_TOKENS, Cell, EngineSettings, Protocol
from speed_benchmark.engines import priors, registry
from speed_benchmark.engines.priors import Kinds, Spreads
from speed_benchmark.engines.settings import Overhead
from speed_benchmark.judge import work
from speed_benchmark.judge.roofline import bandwidth
from speed_benchmark.machine.device import Device
from speed_benchmark.models.cost import token_cost
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample

LOAD_BYTES_PER_S = 1e9
# Of a device whose peaks were not measured: the share of its theoretical bandwidth that others reach, and operations
# for each byte of it (H100 260, H200 186, A100 143; processors 10 to 20).
BANDWIDTH_SHARE, GPU_FLOPS_PER_BYTE, CPU_FLOPS_PER_BYTE = 0.9, 180.0, 10.0
# How far off, in the logarithm, a constant may be: that the engine guesses and no record has shown, such a share of a
# peak, one that a like kind has shown; and all peaks, where they are those of the data sheet.
GUESS_SPREAD, SHARE_SPREAD, LIKENESS_SPREAD, ROOF_SPREAD = 0.7, 0.2, 0.3, 0.3
# From the middle of a normal distribution to its 10th and 90th percentile.
TENTH_SPREADS = 1.2816
# The slower of host and device sets the pace, and a little of the other shows, for both vary: a norm of this order.
NORM = 4.0
_POSITIONS = 16
_ITERATIONS, _LONGEST_STEP, _CLOSE = 30, 1.0, 1e-3
_DIFFERENCE = 1e-3

Quantity = Literal["prefill", "decode", "device", "load", "first"]
Key = tuple[str, str]
"""A constant: engine and kind, and the field of `Overhead`."""
Prior = tuple[float, float]
"""The middle of the logarithm of a constant, and its spread."""

HERE = "this machine"
"""What has factors of its own: by which its host takes longer, for all engines ("host") and for a kind of running one,
and by which its device reaches more where its peaks were not measured ("roof").
"""

SHARES, HOST_TIMES = ("bandwidth_share", "matrix_share"), ("layer_s", "step_s", "prefill_s")
FACTORS = ("host", "kind", "roof")
_DEVICE = (*SHARES, "kernel_s", "roof")
_STEP = (*_DEVICE, "layer_s", "step_s", "host", "kind")
_FIELDS: Mapping[Quantity, tuple[str, ...]] = {
    "prefill": (*_STEP, "prefill_s", "score_bytes"),
    "decode": _STEP,
    "device": _DEVICE,
    "load": ("start_s",),
    "first": ("first_request_s", "first_token_s"),
}
FIELDS = tuple(dict.fromkeys(field for fields in _FIELDS.values() for field in fields if field not in FACTORS))


@dataclass(frozen=True)
class Work:
    """What one request computes, on what: tokens of each sequence, the layers of the model, costs and peaks.

    `attention_heads` are those of all layers together.
    """

    prompt_tokens: int
    output_tokens: int
    sequences: int
    layers: int
    attention_heads: int
    cost: TokenCost
    peaks: DevicePeaks

    def prefill_s(self, overhead: Overhead) -> float:
        """Seconds until every sequence has its first token."""
        cost, prompt, each = self.cost, self.prompt_tokens, self.sequences
        flops = cost.prefill_flops * (prompt - 1) + cost.flops + work.prompt_attention_flops(cost, prompt)
        score_bytes = overhead.score_bytes * self.attention_heads * prompt**2
        bytes_per_s, flops_per_s = self._reached(overhead)
        read_bytes = work.weight_bytes(cost, each * prompt) + each * work.cache_bytes(cost, prompt)
        read_s = float(read_bytes) / bytes_per_s
        device_s = max(read_s, each * flops / flops_per_s) + each * score_bytes / bytes_per_s
        device_s += self.layers * overhead.kernel_s
        return float(_together(self._host_s(overhead) + overhead.prefill_s, device_s, overhead))

    def decode_s(self, overhead: Overhead) -> float:
        """Seconds of all steps after that, from those at some positions of the output."""
        steps = self.output_tokens - 1
        positions = self.prompt_tokens + 1 + steps * (np.arange(_POSITIONS) + 0.5) / _POSITIONS
        device_s = self._device_s(positions, overhead)
        return steps * float(np.mean(_together(self._host_s(overhead), device_s, overhead)))

    def device_s(self, overhead: Overhead) -> float:
        """Seconds that the device takes for the first of these steps."""
        return float(self._device_s(np.array([self.prompt_tokens + 1.0]), overhead)[0])

    def first_s(self, overhead: Overhead) -> float:
        """Seconds that the first request of a process takes beyond that."""
        return overhead.first_request_s + overhead.first_token_s * self.output_tokens

    def _device_s(self, positions: NDArray[np.float64], overhead: Overhead) -> NDArray[np.float64]:
        """Seconds that the device takes for steps at these positions."""
        cost, each = self.cost, self.sequences
        bytes_per_s, flops_per_s = self._reached(overhead)
        read_s = (work.weight_bytes(cost, each) + each * work.cache_bytes(cost, positions)) / bytes_per_s
        computed_s = each * (cost.flops + work.attention_flops(cost, positions)) / flops_per_s
        return np.maximum(read_s, computed_s) + self.layers * overhead.kernel_s

    def _reached(self, overhead: Overhead) -> tuple[float, float]:
        """Bytes/s and operations/s."""
        devices = self.cost.devices_at_once
        flops_per_s = self.peaks.flops_per_s * devices * overhead.matrix_share
        return self._bytes_per_s * devices * overhead.bandwidth_share, flops_per_s

    @cached_property
    def _bytes_per_s(self) -> float:
        return bandwidth(self.peaks, self.cost.weight_bytes / self.cost.devices_at_once)

    def _host_s(self, overhead: Overhead) -> float:
        return self.layers * overhead.layer_s + overhead.step_s


def load_s(read_bytes: float, overhead: Overhead) -> float:
    """Seconds of starting the engine and loading its weights."""
    return overhead.start_s + read_bytes / LOAD_BYTES_PER_S


_Seconds = TypeVar("_Seconds", float, NDArray[np.float64])


def _together(host_s: float, device_s: _Seconds, overhead: Overhead) -> _Seconds:
    """Seconds of steps that take host and device so long."""
    return (host_s**NORM + device_s**NORM) ** (1 / NORM) if overhead.launches_ahead else host_s + device_s


@dataclass(frozen=True)
class Constants:
    """The constants of how an engine runs on a machine: a guess, and the key of each field that is not known.

    `priors` says of each key what is held before records of this machine are seen.
    """

    guess: Overhead
    keys: Mapping[str, Key]
    priors: Mapping[Key, Prior]

    def overhead(self, logs: Mapping[Key, float]) -> Overhead:
        """The overhead where the logarithms of the constants are `logs`."""
        known: dict[str, Any] = {field: math.exp(logs[key]) for field, key in self.keys.items()}
        host, roof = known.pop("host") * known.pop("kind"), known.pop("roof", 1.0)
        for field in known:
            known[field] *= host if field in HOST_TIMES else roof if field in SHARES else 1.0
        return replace(self.guess, **known)


@dataclass(frozen=True)
class Priors:
    """What other machines showed: of an engine with such settings by kind, and spreads that are alike for all."""

    of: Callable[[EngineSettings], Kinds]
    spreads: Spreads


def shipped() -> Priors:
    """The priors that come with this package and with the packages of other engines."""
    return Priors(lambda settings: priors.of(registry.settings_class(settings.engine)), priors.spreads())


def constants(
    settings: EngineSettings, shape: Shape, on: Device, known: Priors, *, machine: str = HERE, has_peaks: bool = True
) -> Constants:
    """The constants of an engine with these settings for such a model on a device, whose peaks are measured or not."""
    quantized, kinds, spreads = shape.is_quantized, known.of(settings), known.spreads
    own = registry.settings_of(settings)
    guess, names = own.overhead(on, quantized=quantized), own.kinds(on, quantized=quantized) or ("",)
    nearest = next((name for name in names if name in kinds), None)
    shown = kinds.get(nearest, {}) if nearest else {}
    unlike = LIKENESS_SPREAD if nearest != names[0] else 0.0
    name = f"{settings.engine} {names[0]}"
    keys: dict[str, Key] = {}
    middles: dict[Key, Prior] = {}
    for field in FIELDS:
        guessed: float = getattr(guess, field)
        if guessed:
            keys[field] = key = (name, field)
            spread = SHARE_SPREAD if field in SHARES else GUESS_SPREAD
            middles[key] = (math.log(guessed), spread)
            if field in shown:
                middles[key] = (math.log(shown[field].value), min(spread, math.hypot(shown[field].spread, unlike)))
    for field, key, spread in (
        ("host", (machine, "host"), spreads.host),
        ("kind", (machine, name), spreads.kind),
        *([] if has_peaks else [("roof", (machine, "roof"), ROOF_SPREAD)]),
    ):
        keys[field], middles[key] = key, (0.0, spread)
    return Constants(guess, keys, middles)


@dataclass(frozen=True)
class Term:
    """A figure in seconds as a function of constants: `times` what `seconds` says of their overhead."""

    quantity: Quantity
    constants: Constants
    seconds: Callable[[Overhead], float]
    times: float = 1.0

    def at(self, logs: Mapping[Key, float]) -> float:
        """The figure where the logarithms of the constants are `logs`."""
        return self.times * self.seconds(self.constants.overhead(logs))

    def linear(self, logs: Mapping[Key, float]) -> tuple[float, dict[Key, float]]:
        """The figure there, and by how much its logarithm grows with that of each constant."""
        keys = [key for field, key in self.constants.keys.items() if field in _FIELDS[self.quantity]]
        there, value = dict(logs), self.at(logs)
        slopes = {}
        for key in keys:
            there[key] = logs[key] + _DIFFERENCE
            slopes[key] = math.log(self.at(there) / value) / _DIFFERENCE if value else 0.0
            there[key] = logs[key]
        return value, slopes


@dataclass(frozen=True)
class Observation:
    """A figure that was measured."""

    term: Term
    measured_s: float


@dataclass(frozen=True)
class Sum:
    """A sum of figures: its middle, by how much it grows with the logarithm of each constant, and its variance beside.

    What the model leaves of figures is taken to be alike in one sum, and independent between sums that are added.
    """

    seconds: float
    slopes: Mapping[Key, float]
    rest: float

    def __add__(self, other: "Sum") -> "Sum":
        keys = {**self.slopes, **other.slopes}
        slopes = {key: self.slopes.get(key, 0.0) + other.slopes.get(key, 0.0) for key in keys}
        return Sum(self.seconds + other.seconds, slopes, self.rest + other.rest)


NOTHING = Sum(0.0, {}, 0.0)


@dataclass(frozen=True)
class Range:
    """What something takes: as likely as not less than the middle, and in 8 of 10 cases from low to high."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Belief:
    """What is held of constants: the middles of their logarithms, and the covariance of these."""

    logs: Mapping[Key, float]
    covariance: NDArray[np.floating[Any]]
    spreads: Spreads

    @classmethod
    def of(cls, terms: Iterable[Term], spreads: Spreads) -> "Belief":
        """What is held of the constants of `terms` before anything is seen: they don't depend on each other."""
        middles = {key: prior for term in terms for key, prior in term.constants.priors.items()}
        variances = [spread**2 for _, spread in middles.values()]
        return cls({key: log for key, (log, _) in middles.items()}, np.diag(variances), spreads)

    def after(self, observations: Sequence[Observation]) -> "Belief":
        """What is held once these were seen: weighted least squares, linear step by step (Gauss and Newton)."""
        if not observations:
            return self
        weights = np.array([self.spread(one.term) ** -2.0 for one in observations])
        measured = np.log([one.measured_s for one in observations])
        prior, start, now = np.linalg.inv(self.covariance), self._middles, self
        for _ in range(_ITERATIONS):
            values, slopes = now.linear([one.term for one in observations])
            precision = prior + slopes.T @ (weights[:, None] * slopes)
            pull = slopes.T @ (weights * (measured - np.log(values))) + prior @ (start - now._middles)
            step = np.clip(np.linalg.solve(precision, pull), -_LONGEST_STEP, _LONGEST_STEP)
            logs = dict(zip(self.logs, (now._middles + step).tolist(), strict=True))
            now = replace(now, logs=logs, covariance=np.linalg.inv(precision))
            if np.abs(step).max() < _CLOSE:
                break
        return now

    def linear(self, terms: Sequence[Term]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The middle of each of `terms`, and by how much its logarithm grows with that of each constant."""
        columns = {key: number for number, key in enumerate(self.logs)}
        values, slopes = np.zeros(len(terms)), np.zeros((len(terms), len(columns)))
        for row, term in enumerate(terms):
            values[row], found = term.linear(self.logs)
            for key, slope in found.items():
                slopes[row, columns[key]] = slope
        return values, slopes

    def sum_of(self, terms: Iterable[Term]) -> Sum:
        """The sum of `terms`."""
        seconds, slopes, rest = 0.0, defaultdict[Key, float](float), 0.0
        for term in terms:
            value, found = term.linear(self.logs)
            seconds, rest = seconds + value, rest + value * self.spread(term)
            for key, slope in found.items():
                slopes[key] += value * slope
        return Sum(seconds, dict(slopes), rest**2)

    def range_of(self, total: Sum) -> Range:
        """From where to where a sum goes."""
        if not total.seconds:
            return Range(0.0, 0.0, 0.0)
        slope = np.array([total.slopes.get(key, 0.0) for key in self.logs])
        spread = math.sqrt(float(slope @ self.covariance @ slope) + total.rest) / total.seconds
        factor = math.exp(TENTH_SPREADS * spread)
        return Range(total.seconds / factor, total.seconds, total.seconds * factor)

    @property
    def _middles(self) -> NDArray[np.float64]:
        return np.array(list(self.logs.values()))

    def spread(self, term: Term) -> float:
        """How far, in the logarithm, a figure of this quantity lies from the model."""
        spread: float = getattr(self.spreads, term.quantity)
        return spread


def of_request(cell: Cell, shape: Shape, on: Device, peaks: DevicePeaks | None, known: Priors) -> list[Term]:
    """The figures of one repeat of `cell`: of its request, or for a quick measurement of both windows."""
    unknown = constants(cell.settings, shape, on, known, has_peaks=peaks is not None)
    works = _works(cell, shape, peaks or of_data_sheet(on))
    pairs = ((Term("prefill", unknown, one.prefill_s), Term("decode", unknown, one.decode_s)) for one in works)
    return [term for pair in pairs for term in pair]


def of_load(cells: Sequence[Cell], shape: Shape, on: Device, peaks: DevicePeaks | None, known: Priors) -> list[Term]:
    """The figures of one load and of all requests of its `cells`, each in as many processes as it asks for."""
    unknown = constants(cells[-1].settings, shape, on, known, has_peaks=peaks is not None)
    load = partial(load_s, shape.weight_bytes())
    terms = [Term("load", unknown, load, max(cell.protocol.processes for cell in cells))]
    for cell in cells:
        works, one = _works(cell, shape, peaks or of_data_sheet(on)), of_request(cell, shape, on, peaks, known)
        requests = cell.protocol.warmups + _repeats(cell.protocol, sum(term.seconds(unknown.guess) for term in one))
        terms += [replace(term, times=cell.protocol.processes * requests) for term in one]
        first = replace(works[0], output_tokens=sum(work.output_tokens for work in works))
        terms.append(Term("first", unknown, first.first_s, cell.protocol.processes))
    return terms


def _repeats(protocol: Protocol, repeat_s: float) -> float:
    """How often a cell is repeated: half way, in the logarithm, between fewest and most, or what its time allows."""
    most = protocol.max_repeats or protocol.repeats
    if protocol.max_seconds:
        most = min(most, math.ceil(protocol.max_seconds / repeat_s))
    return math.sqrt(protocol.repeats * max(protocol.repeats, most))


def observed(record: Record, shape: Shape, unknown: Constants, *, is_first: bool) -> Iterator[Observation]:
    """The figures of a record: prefill and decoding of each length of its requests.

    Of the first record of a load also how long that took, and the first request.
    """
    cost, peaks = record.token_cost, record.device_peaks
    timed = bool(record.samples) and all(one.is_timed for one in record.samples)
    if record.outcome is not Outcome.OK or cost is None or peaks is None or not timed:
        return
    requests: dict[tuple[int, int, int], list[Sample]] = defaultdict(list)
    for sample in record.samples:
        requests[_lengths(sample)].append(sample)
    for lengths, samples in requests.items():
        asked = _work(lengths, shape, cost, peaks)
        yield Observation(Term("prefill", unknown, asked.prefill_s), fmean(one.all_started_s for one in samples))
        decode_s = fmean(one.duration_s - one.all_started_s for one in samples)
        if asked.output_tokens > 1 and decode_s > 0:
            yield Observation(Term("decode", unknown, asked.decode_s), decode_s)
            device_s = _device_s(record, decode_s / (asked.output_tokens - 1))
            if device_s:
                yield Observation(Term("device", unknown, asked.device_s), device_s)
        first, usual_s = record.warmups[: int(is_first)], fmean(one.duration_s for one in samples)
        if asked.first_s(unknown.guess) and first and _lengths(first[0]) == lengths and first[0].duration_s > usual_s:
            yield Observation(Term("first", unknown, asked.first_s), first[0].duration_s - usual_s)
    if record.load_s and is_first:
        yield Observation(Term("load", unknown, partial(load_s, shape.weight_bytes())), record.load_s)


def _device_s(record: Record, step_s: float) -> float | None:
    """What the device took for a step at the start of the output, None where no device was traced."""
    if record.profile is None or not record.gpus:
        return None
    start, share = record.profile.start, record.profile.device_busy_share
    return start.device_s + start.graph_gap_s if start else share * step_s if share else None


@cache
def of_data_sheet(on: Device) -> DevicePeaks:
    """What a device may reach whose peaks were not measured."""
    rate = BANDWIDTH_SHARE * on.bytes_per_s
    flops_per_s = rate * (GPU_FLOPS_PER_BYTE if on.gpus else CPU_FLOPS_PER_BYTE)
    return DevicePeaks(device=on.name, bandwidths=((1, rate),), flops_per_s=flops_per_s, matrix_dtype="", torch="")


def _works(cell: Cell, shape: Shape, peaks: DevicePeaks) -> list[Work]:
    """What the requests of one repeat compute. Raises ValueError where it is not known."""
    cost = token_cost(shape, cell.settings, None, registry.settings_of(cell.settings).traits.split)
    if cost is None:
        raise ValueError(f"what a token costs is not known: {shape.note}")
    workload, window = cell.workload, QUICK_WINDOW_TOKENS
    lengths = [(workload.context_length, workload.generate_length)]
    if cell.protocol.quick:
        lengths = [(workload.context_length, window), (max(1, cell.total_tokens - window), window)]
    return [_work((*pair, workload.batch_size), shape, cost, peaks) for pair in lengths]


def _work(lengths: tuple[int, int, int], shape: Shape, cost: TokenCost, peaks: DevicePeaks) -> Work:
    """What a request of so many tokens in and out of so many sequences computes."""
    return Work(*lengths, shape.layer_count, shape.attention_heads * shape.attention_layers, cost, peaks)


def _lengths(sample: Sample) -> tuple[int, int, int]:
    """Tokens in and out of a sequence, and sequences."""
    first = sample.sequences[0]
    return first.prompt_tokens, len(first.token_times_s), len(sample.sequences)
