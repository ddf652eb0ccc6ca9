"""Comparisons: what the interval says and nothing else, and what is refused."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, get_args

import numpy as np
import pytest
from scipy import stats

from speed_benchmark import cli
from speed_benchmark.judge.judge import judged
from speed_benchmark.record.machine import Pace
from speed_benchmark.record.record import Record
from speed_benchmark.report import documents
from speed_benchmark.report.compare import (
    LEAST_EFFECT,
    Change,
    Comparisons,
    Measured,
    Reason,
    Unlike,
    compare,
    measured,
)
from speed_benchmark.report.words import Language, words
from tests.report.made import GENERATE, REPEATS_S, SAMPLING, vary
from tests.report.made import record as made

Command = Callable[..., CompletedProcess[str]]
DAY = "2026-03-{:02}T00:00:00+00:00"


def kept(record: Record) -> Measured:
    return measured(judged(record))


def compared(before: Sequence[Record], after: Sequence[Record], *across: Unlike) -> Comparisons:
    return compare([kept(one) for one in before], [kept(one) for one in after], frozenset(across))


def with_speeds(base: Measured, speeds: Sequence[float]) -> Measured:
    """`base` with one repeat a speed, in one process: another measurement."""
    return replace(base, speeds={0: tuple(speeds)}, moments=frozenset())


def later(record: Record, day: int = 2, **changed: Any) -> Record:
    """Another measurement of the same cell, by what was loaded from the same checkpoint."""
    kept = {"checkpoint": record.checkpoint, "loaded": record.loaded, "provenance": record.provenance}
    return vary(record, created_at=DAY.format(day), **(kept | changed))


def codes(reasons: Sequence[Reason]) -> list[str]:
    return [reason.code for reason in reasons]


@pytest.fixture(scope="session")
def ok(measured: dict[str, Record]) -> Record:
    return vary(measured["ok"])


@pytest.fixture(scope="session")
def base(ok: Record) -> Measured:
    return kept(ok)


def test_the_interval_is_welch_on_log_speeds(base: Measured) -> None:
    old, new = [100.0, 103, 99, 101, 98, 102.5], [107.0, 104, 111, 108, 103.5, 109]
    cell = compare([with_speeds(base, old)], [with_speeds(base, new)]).cells[0]
    assert cell.ratio is not None
    test = stats.ttest_ind(np.log(new), np.log(old), equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert cell.ratio.value == pytest.approx(stats.gmean(new) / stats.gmean(old))
    assert (cell.ratio.low, cell.ratio.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert cell.change is Change.FASTER


def test_over_all_is_the_mean_of_the_logs_with_its_own_interval(base: Measured, ok: Record) -> None:
    other = kept(vary(ok, input_tokens=60))
    old = [with_speeds(base, [100, 101, 99, 100, 102, 98]), with_speeds(other, [50, 50.4, 49.8, 50.1, 49.7, 50])]
    new = [with_speeds(base, [90, 91, 89, 90.5, 90, 89.5]), with_speeds(other, [55, 55.3, 54.6, 55, 55.2, 54.9])]
    found = compare(old, new)
    ratios = [cell.ratio for cell in found.cells]
    changes = {cell.before[0].cell: cell.change for cell in found.cells}
    assert changes == {base.cell: Change.SLOWER, other.cell: Change.FASTER}
    assert found.overall is not None
    assert found.overall.value == pytest.approx(math.sqrt(math.prod(ratio.value for ratio in ratios if ratio)))
    errors = [np.var(np.log(record.speeds[0]), ddof=1) / 6 for record in old + new]
    width = math.log(found.overall.high or 0) - math.log(found.overall.low or 0)
    least = 2 * stats.t.ppf(0.975, 20) * math.sqrt(sum(errors)) / 2  # 20: the most degrees of freedom there can be
    most = 2 * stats.t.ppf(0.975, 5) * math.sqrt(sum(errors)) / 2  # 5: the fewest
    assert least <= width <= most


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "skewed"])
@pytest.mark.parametrize("repeats", [3, 6, 10])
def test_pairs_of_the_same_are_called_different_at_most_one_time_in_twenty(
    base: Measured, kind: str, repeats: int, capsys: pytest.CaptureFixture[str]
) -> None:
    random, pairs, different, decided = np.random.default_rng(7), 4000, 0, 0
    for _ in range(pairs):
        noise = random.normal(0, 0.02, (2, repeats)) if kind == "normal" else random.gamma(2, 0.015, (2, repeats))
        old, new = (with_speeds(base, list(100 * np.exp(-side))) for side in noise)
        cell = compare([old], [new], threshold=0).cells[0]
        different += cell.change in (Change.FASTER, Change.SLOWER)
        decided += cell.ratio is not None and cell.ratio.low is not None
    with capsys.disabled():
        called = f"{different} of {pairs} called different ({different / pairs:.2%})"
        print(f"\nA/A, {kind}, {repeats} repeats: {called}, {pairs - decided} without an interval")  # noqa: T201
    assert different / pairs <= 0.05
    assert decided / pairs > 0.75


def test_a_real_difference_is_found(base: Measured) -> None:
    random = np.random.default_rng(3)
    found = 0
    for _ in range(200):
        old, new = (list(speed * np.exp(random.normal(0, 0.01, 7))) for speed in (100, 95))
        found += compare([with_speeds(base, old)], [with_speeds(base, new)]).cells[0].change is Change.SLOWER
    assert found >= 150  # the rest is mostly without a verdict, because its repeats look dependent


def test_too_few_or_dependent_repeats_give_a_ratio_and_no_verdict(base: Measured) -> None:
    few = compare([with_speeds(base, [100, 101])], [with_speeds(base, [50, 51, 49])]).cells[0]
    assert few.change is Change.UNDECIDED
    assert few.ratio is not None
    assert few.ratio.value == pytest.approx(0.5, abs=0.01)
    assert few.ratio.low is None
    assert few.reasons[0] == Reason("few_repeats", {"count": 2, "needed": 3})
    assert few.reasons[0].text(words("en")) == "no verdict from 2 repeats: 3 are needed on each side"
    rising = compare([with_speeds(base, list(range(100, 110)))], [with_speeds(base, [50, 51, 49, 50, 52, 48])]).cells[0]
    assert rising.change is Change.UNDECIDED
    assert codes(rising.reasons) == ["dependent_repeats", "below_dependent"]


def test_without_an_interval_the_order_of_the_values_is_said_and_its_chance(base: Measured) -> None:
    """1 in (n + m over n), where nothing but chance put every later value below every earlier one."""

    def said(before: list[float], after: list[float], language: Language = "en") -> str:
        cell = compare([with_speeds(base, before)], [with_speeds(base, after)]).cells[0]
        assert cell.ratio is not None
        assert cell.ratio.low is None
        return cell.reasons[-1].text(words(language))

    below = "every repeat below every repeat before: 0.50 (0.49 to 0.51), which chance does 1 time in 10"
    assert said([100, 101], [50, 51, 49]) == below
    above = "every repeat above every repeat before: 2.02 (2.00 to 2.04), which chance does 1 time in 3"
    assert said([50], [102, 100]) == above
    assert said([50, 51], [100], "zh") == "每次重复都高于之前的每次重复：1.98（1.96 到 2.00），偶然出现的机会为 1/3"
    assert said([100, 101], [101, 99]) == "the repeats overlap: ratios from 0.98 to 1.01"
    dependent = [float(speed) for speed in range(100, 110)]
    assert said(dependent, [50.0, 51]) == "every repeat below every repeat before: 0.48 (0.46 to 0.51)"
    assert math.comb(6, 3) == 20


def test_the_order_stands_beside_an_interval_that_decides_nothing(base: Measured) -> None:
    apart = compare([with_speeds(base, [100, 130, 110])], [with_speeds(base, [99, 80, 70])]).cells[0]
    assert apart.change is Change.UNDECIDED
    assert [reason.values.get("times") for reason in apart.reasons] == [20]
    assert apart.reasons[0].code == "below"
    overlapping = compare([with_speeds(base, [100, 130, 110])], [with_speeds(base, [105, 80, 70])]).cells[0]
    assert (overlapping.change, overlapping.reasons) == (Change.UNDECIDED, ())
    sure = compare([with_speeds(base, [100, 101, 99])], [with_speeds(base, [50, 51, 49])]).cells[0]
    assert (sure.change, sure.reasons) == (Change.SLOWER, ())


def test_the_process_is_the_unit_where_there_are_several(base: Measured) -> None:
    """Two processes each lucky or unlucky as a whole: many repeats must not make that look certain."""

    def processes(means: list[float]) -> list[Measured]:
        return [with_speeds(base, [mean + step for step in (0, 0.1, -0.1, 0.05)]) for mean in means]

    cell = compare(processes([100, 110, 95]), processes([104, 93, 99])).cells[0]
    assert cell.change is Change.UNDECIDED
    assert cell.ratio is not None
    test = stats.ttest_ind(np.log([104, 93, 99]), np.log([100, 110, 95]), equal_var=False)
    assert math.log(cell.ratio.high or 0) == pytest.approx(test.confidence_interval(0.95).high, abs=1e-3)
    two = compare(processes([100, 101]), processes([50, 51])).cells[0]
    assert two.change is Change.UNDECIDED
    assert two.reasons[0] == Reason("few_processes", {"count": 2, "needed": 3})
    assert two.reasons[1].text(words("en")).startswith("every process below every process before: 0.50")


@pytest.mark.parametrize(
    ("ratio", "change"),
    [
        (1.000004, Change.SAME),
        (0.9999, Change.SAME),
        (1 + 0.9 * LEAST_EFFECT, Change.SAME),
        (1 + 1.1 * LEAST_EFFECT, Change.FASTER),
        (1 - 1.1 * LEAST_EFFECT, Change.SLOWER),
    ],
)
def test_an_effect_that_matters_to_nobody_is_no_difference(base: Measured, ratio: float, change: Change) -> None:
    """Speeds without spread that differ by 4 millionths were called slower, and by the gate a regression."""
    old, new = with_speeds(base, [100.0] * 6), with_speeds(base, [100.0 * ratio] * 6)
    cell = compare([old], [new]).cells[0]
    assert cell.change is change
    assert cell.regressed(0.0) is (change is Change.SLOWER)


def test_what_is_below_the_clocks_resolution_is_no_difference(base: Measured) -> None:
    short = replace(base, shortest_s=5e-5)
    old, new = with_speeds(short, [100.0] * 6), with_speeds(short, [101.5] * 6)
    assert compare([old], [new]).cells[0].change is Change.SAME
    assert compare([with_speeds(base, [100.0] * 6)], [with_speeds(base, [101.5] * 6)]).cells[0].change is Change.FASTER


@pytest.mark.parametrize(
    ("threshold", "change"),
    [(0.0, Change.FASTER), (0.004, Change.FASTER), (0.0057, Change.UNDECIDED), (0.02, Change.SAME)],
)
def test_a_change_is_told_beyond_the_threshold_and_none_within_it(
    base: Measured, threshold: float, change: Change
) -> None:
    """What reaches across the threshold is undecided."""
    old, new = [100, 100.5, 99.5, 100.2, 99.8, 100], [101, 101.5, 100.5, 101.2, 100.8, 101]
    found = compare([with_speeds(base, old)], [with_speeds(base, new)], threshold=threshold)
    (cell,) = found.cells
    assert cell.ratio is not None
    assert (cell.ratio.low, cell.ratio.high) == pytest.approx((1.00561, 1.01441), abs=1e-5)
    assert (cell.change, found.threshold) == (change, threshold)


@pytest.mark.parametrize("verb", [cli.compare, cli.gate])
def test_the_threshold_of_the_command_line_is_that_of_a_comparison(verb: Callable[..., int]) -> None:
    assert signature(verb).parameters["threshold"].default == f"{LEAST_EFFECT:.0%}"


def test_no_difference_is_said_with_what_it_is_within(base: Measured) -> None:
    old, new = with_speeds(base, [100.0] * 6), with_speeds(base, [100.5] * 6)
    for threshold, text in ((LEAST_EFFECT, "same within 1%"), (0.02, "same within 2%")):
        document = documents.comparison(compare([old], [new], threshold=threshold), "en", "qwen2.5")
        assert text in document.tables[0].lines[0].cells
        assert text.removeprefix("same within ") in document.intro[0]


def test_unlike_machines_and_protocols_are_not_compared_unless_asked(ok: Record) -> None:
    other = vary(ok, machine=ok.machine.model_copy(update={"processor": "Xeon"}))
    cell = compared([ok], [other]).cells[0]
    assert (cell.change, cell.ratio) == (Change.NOT_COMPARED, None)
    assert cell.reasons == (Reason("unlike_processors", {"values": ("AMD EPYC 9555, 16 cores", "Xeon, 16 cores")}),)
    unlike = "unlike processors: AMD EPYC 9555, 16 cores / Xeon, 16 cores"
    assert cell.reasons[0].text(words("en")) == unlike
    assert compared([ok], [other], "machine").cells[0].ratio is not None
    warm = vary(ok, protocol={"warmups": 3})
    assert codes(compared([ok], [warm]).cells[0].reasons) == ["unlike_warmups"]
    assert compared([ok], [warm], "machine").cells[0].ratio is None
    assert compared([ok], [warm], "protocol").cells[0].ratio is not None
    quick = vary(ok, protocol={"quick": True}, samples=())
    assert compared([ok], [quick]).cells[0].ratio is None


def test_each_difference_is_said_in_the_language_of_the_report(ok: Record) -> None:
    chat = vary(ok, prompt="chat")
    document = documents.comparison(compared([ok], [chat]), "zh", "qwen2.5")
    assert document.data[0].reason_codes == ("unlike_prompts",)  # type: ignore[attr-defined]
    assert document.tables[0].notes == ("[1] 提示词不同：随机 / 对话",)


def other_weights(record: Record) -> Record:
    return with_checkpoint(record, weights_digest="sha256:" + "1" * 64)


def with_checkpoint(record: Record, **changed: Any) -> Record:
    assert record.checkpoint
    return vary(record, checkpoint=record.checkpoint.model_copy(update=changed))


def with_loaded(record: Record, **changed: Any) -> Record:
    assert record.loaded
    return vary(record, loaded=record.loaded.model_copy(update=changed))


@pytest.mark.attack("4.4", "4.5")
def test_other_work_is_not_compared_whatever_is_accepted(ok: Record) -> None:
    """What was read back counts, not what was asked for."""
    warm = vary(ok, sampling=SAMPLING.model_copy(update={"temperature": 1.0}))
    others = {
        "unlike_weights": other_weights(ok),
        "unlike_formats": vary(ok, quantization="FP16"),
        "unlike_types": with_loaded(ok, dtype="float32"),
        "unlike_cache_types": with_loaded(ok, kv_cache_dtype="fp8"),
        "unlike_sampling": warm,
    }
    for code, other in others.items():
        for across in ((), get_args(Unlike)):
            cell = compared([ok], [other], *across).cells[0]
            assert (cell.change, codes(cell.reasons)) == (Change.NOT_COMPARED, [code])
    (reason,) = compared([ok], [warm]).cells[0].reasons
    assert "temperature 0.7" in reason.text(words("en"))
    assert "temperature 1," in reason.text(words("en"))


@pytest.mark.attack("4.5")
def test_other_means_are_compared_and_named(ok: Record) -> None:
    """To compare two versions or two kernels is what a comparison is for."""
    newer = ok.provenance.model_copy(update={"packages": {"torch": "2.14.0", "transformers": "6.0.0"}})
    others = {
        "unlike_versions": vary(ok, provenance=newer),
        "unlike_attention": with_loaded(ok, attention_implementation="eager"),
        "unlike_kernels": with_loaded(ok, quantization_kernels=("MarlinLinear",)),
        "unlike_execution": with_loaded(ok, execution="compiled"),
    }
    for code, other in others.items():
        cell = compared([ok], [later(other)]).cells[0]
        assert (cell.change, codes(cell.reasons)) == (Change.UNDECIDED, [code])
    (reason,) = compared([ok], [later(others["unlike_attention"])]).cells[0].reasons
    assert reason.text(words("en")) == "unlike attention: fake / eager"


@pytest.mark.attack("4.3")
def test_a_stray_record_is_left_out_and_named(ok: Record) -> None:
    """One of another machine beside good ones made the cell `not compared`, in whichever side and order it stood."""
    good = [later(ok, factor=1.25, day=day) for day in (2, 3, 4)]
    for day in (1, 9):
        stray = later(ok, factor=0.5, day=day, machine=ok.machine.model_copy(update={"driver": "570"}))
        cell = compared([ok], [*good, stray]).cells[0]
        assert [one.row.record_id for one in cell.after] == [one.record_id for one in good]
        assert cell.ratio is not None
        assert cell.ratio.value == pytest.approx(0.8)
        left_out = cell.reasons[-1]
        assert left_out.text(words("en")) == "left out of the second: 1 (unlike drivers: none / 570)"
        assert codes(compared([*good, stray], [later(ok, day=10)]).cells[0].reasons)[-1] == "left_out_before"


def test_of_several_that_match_the_newest_are_compared(ok: Record) -> None:
    """Two versions in one folder were taken for one."""
    newer = ok.provenance.model_copy(update={"packages": {"torch": "2.14.0"}})
    new = [later(ok, factor=2.0, day=2), later(ok, day=3, provenance=newer)]
    cell = compared([ok], new).cells[0]
    assert [one.row.record_id for one in cell.after] == [new[1].record_id]
    assert codes(cell.reasons) == ["unlike_versions", "left_out_after"]


def test_what_failed_beside_what_ran_is_named(ok: Record, measured: dict[str, Record]) -> None:
    failed = vary(measured["oom"], protocol={"repeats": 7}, created_at=DAY.format(5))
    cell = compared([ok], [later(ok), failed]).cells[0]
    assert cell.ratio is not None
    assert cell.reasons[0].text(words("en")) == "left out of the second: 1 (oom)"


@pytest.mark.attack("1.17", "4.6")
def test_a_measurement_that_is_stored_again_counts_once() -> None:
    """Three copies of one record looked like three processes, which give an interval."""
    few = vary(made(REPEATS_S[:3]))
    copies = [few.model_copy(update={"record_id": f"sha256:{number}", "load_s": number}) for number in range(1, 4)]
    cell = compared([later(few, day=9)], copies).cells[0]
    assert (cell.change, len(cell.after)) == (Change.UNDECIDED, 1)
    assert cell.reasons[-1].text(words("en")) == "left out of the second: 2 (the same measurement again)"


def test_one_measurement_on_both_sides_is_named(ok: Record) -> None:
    cell = compared([ok], [ok]).cells[0]
    assert (cell.change, codes(cell.reasons)) == (Change.UNDECIDED, ["same_measurement"])


def test_batches_of_unlike_size_are_unlike_cells(ok: Record) -> None:
    assert compared([ok], [vary(made(batch_size=4))]).cells == ()


def test_what_no_longer_runs_is_broken(ok: Record, measured: dict[str, Record]) -> None:
    oom = vary(measured["oom"])
    broken = compared([ok], [oom]).cells[0]
    assert broken.change is Change.BROKEN
    assert [reason.text(words("en")) for reason in broken.reasons] == ["ok -> oom"]
    assert compared([oom], [ok]).cells[0].change is Change.FIXED
    both = compared([oom], [oom]).cells[0]
    assert both.change is Change.NOT_COMPARED
    assert [reason.text(words("en")) for reason in both.reasons] == ["oom on both sides"]
    assert broken.regressed(0.5)
    invalid = compared([ok], [vary(measured["invalid"], protocol={"repeats": 7})]).cells[0]
    assert invalid.change is Change.BROKEN
    assert [reason.text(words("en")) for reason in invalid.reasons] == ["ok -> invalid"]


def test_cells_of_one_side_are_named(ok: Record) -> None:
    longer = vary(ok, input_tokens=60)
    found = compared([ok, longer], [ok])
    assert [one.row.record_id for one in found.only_before] == [longer.record_id]
    assert found.only_after == ()
    assert len(found.cells) == 1


def test_what_is_kept_of_a_record_holds_no_token_times(ok: Record) -> None:
    """So that two folders of any size can be compared."""
    longer = vary(made(tokens=10 * GENERATE))
    assert len(repr(longer)) > 5 * len(repr(ok))
    assert len(repr(kept(longer))) < 1.1 * len(repr(kept(ok)))


def test_no_common_cell_is_one_line(measured: dict[str, Record], stored: Callable[..., Path], command: Command) -> None:
    one, other = stored([vary(measured["ok"])], "one"), stored([vary(measured["ok"], input_tokens=7)], "other")
    done = command("compare", one, other)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no cell in common" in done.stderr


def placed(
    record: Record, host: str | None, pace: Pace | None = None, cards: Sequence[str] = (), **changed: Any
) -> Record:
    """The record as if measured on that host, at that pace, on those cards."""
    gpus = tuple(
        gpu.model_copy(update={"card_id": card}) for gpu, card in zip(record.machine.gpus, cards, strict=False)
    )
    machine = record.machine.model_copy(update={"host_id": host, **({"gpus": gpus} if gpus else {})})
    return later(record, machine=machine, host_paces=(pace,) if pace else (), **changed)


PACE = Pace(python_loop_s=1e-8, kernel_launch_s=4e-6, graph_launch_s=2e-5)


def slower(**factors: float) -> Pace:
    return PACE.model_copy(update={part: getattr(PACE, part) * factor for part, factor in factors.items()})


def test_hosts_of_unlike_pace_are_not_compared_unless_asked(ok: Record) -> None:
    """Another host of the same kind is common in clouds: by its pace it is the same kind, or it is not."""
    old = placed(ok, "one", PACE)
    new = placed(ok, "other", slower(python_loop_s=1.31, kernel_launch_s=1.1), day=3)
    cell = compared([old], [new]).cells[0]
    assert (cell.change, codes(cell.reasons)) == (Change.NOT_COMPARED, ["unlike_pace"])
    assert cell.reasons[0].text(words("en")) == (
        "unlike hosts: a Python loop takes 1.31 times as long on one of them; "
        "--across_machines compares them all the same"
    )
    across = compared([old], [new], "machine").cells[0]
    assert across.ratio is not None
    assert codes(across.reasons) == ["other_host"]


@pytest.mark.parametrize(("factor", "reasons"), [(1.04, []), (1.06, ["unlike_pace"])])
def test_a_host_that_went_at_another_pace_is_an_unlike_one(ok: Record, factor: float, reasons: list[str]) -> None:
    cell = compared([placed(ok, "one", PACE)], [placed(ok, "one", slower(graph_launch_s=factor), day=3)]).cells[0]
    assert codes(cell.reasons) == reasons
    assert (cell.ratio is None) is bool(reasons)


def test_a_cell_that_the_device_paces_is_compared_and_the_pace_named(ok: Record) -> None:
    by_device = [
        replace(one, row=one.row.model_copy(update={"bound_by": "memory"}))
        for one in (kept(placed(ok, "one", PACE)), kept(placed(ok, "other", slower(kernel_launch_s=1.2), day=3)))
    ]
    cell = compare(by_device[:1], by_device[1:]).cells[0]
    assert cell.ratio is not None
    assert codes(cell.reasons) == ["other_host", "unlike_pace_of_device"]
    assert "a kernel launch takes 1.20 times as long" in cell.reasons[1].text(words("en"))


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ("one", "one", []),
        ("one", "other", ["other_host"]),
        (None, None, []),
        (None, "one", ["unknown_host"]),
        ("one", None, ["unknown_host"]),
    ],
)
def test_another_host_of_the_same_kind_is_compared_and_named(
    ok: Record, before: str | None, after: str | None, reasons: list[str]
) -> None:
    cell = compared([placed(ok, before)], [placed(ok, after, day=3)]).cells[0]
    assert cell.ratio is not None
    assert codes(cell.reasons) == reasons


def test_other_cards_of_a_host_are_named(ok: Record) -> None:
    gpu = vary(ok, gpus=1)
    cell = compared([placed(gpu, "one", cards=["a"])], [placed(gpu, "one", cards=["b"], day=3)]).cells[0]
    assert cell.ratio is not None
    assert codes(cell.reasons) == ["other_cards"]
    assert cell.reasons[0].text(words("en")) == "other cards of the same kind"


def test_what_is_of_one_host_is_compared_rather_than_what_is_newest(ok: Record) -> None:
    old = [placed(ok, "one"), placed(ok, "other", day=3)]
    cell = compared(old, [placed(ok, "one", day=4)]).cells[0]
    assert [one.row.record_id for one in cell.before] == [old[0].record_id]
    assert [reason.text(words("en")) for reason in cell.reasons] == [
        "left out of the first: 1 (another host of the same kind)"
    ]


@pytest.mark.parametrize(
    ("host", "after_ms", "reasons"),
    [
        ("other", 1.266, ["other_host", "device_times"]),
        ("one", 1.266, []),
        ("other", None, ["other_host"]),
    ],
)
def test_device_times_stand_beside_the_speeds_of_two_hosts(
    ok: Record, host: str, after_ms: float | None, reasons: list[str]
) -> None:
    """They hardly depend on the host: alike, the GPUs are too, whatever the speeds do."""
    records = []
    for placed_, time_ms in ((placed(ok, "one"), 1.262), (placed(ok, host, day=3), after_ms)):
        record = kept(placed_)
        row = record.row.model_copy(update={"device_s_per_token": time_ms and time_ms / 1e3})
        records.append(replace(record, row=row))
    cell = compare(records[:1], records[1:]).cells[0]
    assert codes(cell.reasons) == reasons
    if "device_times" in reasons:
        assert cell.reasons[1].text(words("en")) == "the GPU took 1.262 ms for a token and 1.266 ms (+0.3%)"
