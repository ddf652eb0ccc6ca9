"""Forecasts of time: the model of a step, what records of this machine change, and how right real records find them."""

import math
import tomllib
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from benchmarks import priors as script
from speed_benchmark.cell import Cell, EngineSettings, Model, OptionValue, Protocol, Workload
from speed_benchmark.engines.priors import Constant, Spreads
from speed_benchmark.engines.settings import Overhead
from speed_benchmark.machine.device import Device
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.run import forecast
from speed_benchmark.run.forecast import Belief, Observation, Priors, Range, Term
from tests.shapes import published_shape

A100 = Device(gpus=1, memory_bytes=80 * 2**30, bytes_per_s=2.04e12, name="NVIDIA A100-SXM4-80GB")
PEAKS = DevicePeaks(device="", bandwidths=((1, 1e12),), flops_per_s=1e14, matrix_dtype="", torch="")
SPREADS = Spreads(host=0.3, kind=0.1, prefill=0.2, decode=0.1, device=0.2, load=0.4, first=0.2)
RESULTS = Path(__file__).parents[2] / "results"


def cell(model: str, context: int, engine: str = "vllm", batch_size: int = 1, **options: OptionValue) -> Cell:
    options = {"engine_core": "process", **options} if engine == "vllm" else options
    return Cell(
        model=Model(model_id_or_path=f"Qwen/{model}"),
        workload=Workload(context_length=context, batch_size=batch_size),
        settings=EngineSettings(engine=engine, options=options),
        protocol=Protocol(),
    )


def shape_of(one: Cell) -> Shape:
    return published_shape(one.model.model_id_or_path)


def known(step_s: float = 1e-3, spread: float = 0.2) -> Priors:
    """Priors of a kind of which only the step of the host is known from elsewhere."""
    return Priors(lambda _: {"graphs": {"step_s": Constant(step_s, spread)}}, SPREADS)


def request_terms(one: Cell, priors: Priors) -> list[Term]:
    return forecast.of_request(one, shape_of(one), A100, PEAKS, priors)


def request_s(one: Cell, priors: Priors | None = None, observations: tuple[Observation, ...] = ()) -> Range:
    terms = request_terms(one, priors or known())
    belief = Belief.of([*terms, *(seen.term for seen in observations)], SPREADS).after(observations)
    return belief.range_of(belief.sum_of(terms))


def test_a_step_of_a_large_model_is_that_of_its_bytes() -> None:
    """A device that reaches all of its bandwidth, and a host that takes no time: weights and cache over bandwidth."""
    one = cell("Qwen2.5-7B-Instruct", 6144)
    (_, decode) = request_terms(one, known())
    weight_bytes, cache_bytes, steps = 14_141_000_000, 57344, 2047
    bytes_read = steps * weight_bytes + cache_bytes * sum(6144 + 1 + step for step in range(steps))
    ideal = Overhead(bandwidth_share=1.0, matrix_share=1.0)
    assert decode.seconds(ideal) == pytest.approx(bytes_read / 1e12, rel=1e-3)


@pytest.mark.parametrize(("launches_ahead", "step_s"), [(True, 10e-3), (False, 10e-3 + 0.99e-3)])
def test_the_host_hides_the_device_or_waits_for_it(*, launches_ahead: bool, step_s: float) -> None:
    (_, decode) = request_terms(cell("Qwen2.5-0.5B-Instruct", 1), known())
    slow_host = Overhead(step_s=10e-3, launches_ahead=launches_ahead, bandwidth_share=1.0)
    assert decode.seconds(slow_host) / 2047 == pytest.approx(step_s, rel=0.02)


def test_a_batch_reads_the_weights_once() -> None:
    """Twice the sequences take twice as long only where cache and arithmetic, and not the weights, take the time."""
    model = "Qwen2.5-7B-Instruct"
    short = [request_s(cell(model, 1, batch_size=size)).middle for size in (1, 8)]
    long = [request_s(cell(model, 30720, batch_size=size)).middle for size in (1, 8)]
    assert short[1] < 1.2 * short[0]
    assert 2 * long[0] < long[1] < 8 * long[0]


def test_a_cell_that_the_host_paces_has_the_wider_range() -> None:
    host, device = (request_s(cell(f"Qwen2.5-{size}-Instruct", 1), known(4e-3)) for size in ("0.5B", "14B"))
    assert host.high / host.middle > 1.4 > 1.35 > device.high / device.middle
    assert host.low < host.middle < host.high


def test_peaks_of_a_data_sheet_widen_the_range() -> None:
    one, priors = cell("Qwen2.5-14B-Instruct", 1), known()
    terms = forecast.of_request(one, shape_of(one), A100, None, priors)
    belief = Belief.of(terms, SPREADS)
    taken, measured = belief.range_of(belief.sum_of(terms)), request_s(one)
    assert taken.high / taken.middle > 1.1 * measured.high / measured.middle


def seen(one: Cell, factor: float, priors: Priors) -> tuple[Observation, ...]:
    """A record of `one` on a machine that takes `factor` of what is forecast."""
    terms = request_terms(one, priors)
    belief = Belief.of(terms, SPREADS)
    return tuple(Observation(term, factor * term.at(belief.logs)) for term in terms)


def test_a_record_of_this_machine_moves_what_is_like_it_and_narrows_its_range() -> None:
    priors, small = known(4e-3), "Qwen2.5-0.5B-Instruct"
    before = request_s(cell(small, 6144), priors)
    slow = request_s(cell(small, 6144), priors, seen(cell(small, 1), 1.5, priors))
    assert 1.35 < slow.middle / before.middle < 1.5, "as far as the record is surer than the prior"
    assert slow.high / slow.middle < 1.2 < before.high / before.middle


def test_a_slow_host_is_slow_for_other_kinds_too_but_not_for_a_device_that_sets_the_pace() -> None:
    priors = known(4e-3, 0.05)
    slow = seen(cell("Qwen2.5-0.5B-Instruct", 1), 1.5, priors)
    other = cell("Qwen2.5-0.5B-Instruct", 1, "transformers")
    large = cell("Qwen2.5-72B-Instruct", 1)
    assert request_s(other, priors, slow).middle / request_s(other, priors).middle > 1.2
    assert request_s(large, priors, slow).middle / request_s(large, priors).middle < 1.1


def test_a_kind_without_records_takes_its_like_ones_less_surely() -> None:
    inproc = cell("Qwen2.5-0.5B-Instruct", 1, engine_core="inproc")
    own, like = (request_s(one, known(4e-3, 0.05)) for one in (cell("Qwen2.5-0.5B-Instruct", 1), inproc))
    assert like.middle == pytest.approx(own.middle)
    assert like.high / like.middle > own.high / own.middle


def test_sums_of_loads_share_the_host() -> None:
    """What all have in common does not average out: the range of ten loads is as wide as that of one."""
    terms = request_terms(cell("Qwen2.5-0.5B-Instruct", 1), known(4e-3))
    belief = Belief.of(terms, SPREADS)
    one = belief.sum_of(terms)
    ten = sum([one] * 10, forecast.NOTHING)
    single, many = belief.range_of(one), belief.range_of(ten)
    assert many.middle == pytest.approx(10 * single.middle)
    assert 0.8 < math.log(many.high / many.middle) / math.log(single.high / single.middle) < 1


def test_a_load_counts_its_requests() -> None:
    one = replace(
        cell("Qwen2.5-0.5B-Instruct", 1), protocol=Protocol(repeats=3, warmups=1, max_repeats=12, precision=0.02)
    )
    load, prefill, decode, first = forecast.of_load([one], shape_of(one), A100, PEAKS, known())
    assert load.times == 1
    assert prefill.times == decode.times == 1 + 6, "a warm-up, and between 3 and 12 repeats"
    assert first.at(Belief.of([first], SPREADS).logs) == 0


@pytest.mark.parametrize(("max_seconds", "requests"), [(None, 1 + 6), (1e6, 1 + 6), (1e-3, 1 + 3)])
def test_repeats_end_with_their_time(max_seconds: float | None, requests: int) -> None:
    protocol = Protocol(repeats=3, warmups=1, max_repeats=12, max_seconds=max_seconds, precision=0.02)
    one = replace(cell("Qwen2.5-0.5B-Instruct", 1), protocol=protocol)
    _, prefill, *_ = forecast.of_load([one], shape_of(one), A100, PEAKS, known())
    assert prefill.times == requests


def test_a_quick_measurement_is_of_two_windows() -> None:
    one = cell("Qwen2.5-0.5B-Instruct", 6144)
    quick = replace(one, protocol=Protocol(quick=True))
    assert request_s(quick).middle < 0.1 * request_s(one).middle


FOUND = sorted(script.seen(sorted(RESULTS.iterdir())), key=lambda one: one.record.created_at)


@pytest.mark.slow
def test_records_of_other_machines_and_half_of_its_own_are_right_within_a_quarter_on_every_folder() -> None:
    learn = {
        machine: script.learn([one for one in FOUND if one.machine != machine])
        for machine in {one.machine for one in FOUND}
    }
    held, alone = [], []
    for folder in {one.folder for one in FOUND}:
        cells = [one for one in FOUND if one.folder == folder]
        ratios = []
        for one in cells:
            _, half = script.own_records(one, FOUND)
            taken, by_others = (script.predicted(one, learn[one.machine], own) for own in (half, []))
            ratios.append(taken.middle / one.measured_s)
            held.append(taken.low <= one.measured_s <= taken.high)
            alone.append(by_others.low <= one.measured_s <= by_others.high)
        assert median(ratios) == pytest.approx(1, abs=script.WITHIN), folder
    # ranges are for 8 in 10
    assert sum(held) >= 0.75 * len(held)
    assert sum(alone) >= 0.75 * len(alone)


@pytest.mark.slow
def test_shipped_priors_are_those_of_the_results() -> None:
    """Up to the last of their digits, which another processor may round otherwise."""
    for file, text in script.files_of(FOUND).items():
        shipped, made = tomllib.loads(file.read_text()), tomllib.loads(text)
        assert shipped.keys() == made.keys(), "python -m benchmarks.priors results/*"
        for name, of_kind in made.items():
            if isinstance(of_kind, dict):
                assert shipped[name].keys() == of_kind.keys()
                assert all(shipped[name][field] == pytest.approx(value, rel=0.11) for field, value in of_kind.items())
            else:
                assert shipped[name] == pytest.approx(of_kind, rel=0.11)
