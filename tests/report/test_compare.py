"""Comparisons: what the interval says and nothing else, and what is refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from scipy import stats

from speed_benchmark.record.record import Record, Verdict
from speed_benchmark.report.compare import Change, compare

Command = Callable[..., CompletedProcess[str]]
Vary = Callable[..., Record]


def with_speeds(record: Record, speeds: list[float], process: int = 0) -> Record:
    """`record` with one repeat a speed."""
    sample = record.samples[0]
    samples = tuple(
        sample.model_copy(update={"duration_s": sample.output_tokens / speed, "process": process}) for speed in speeds
    )
    return record.model_copy(update={"samples": samples, "verdict": Verdict.VALID})


@pytest.fixture(scope="session")
def base(measured: dict[str, Record], vary: Vary) -> Record:
    return vary(measured["ok"])


def test_the_interval_is_welch_on_log_speeds(base: Record) -> None:
    old, new = [100.0, 103, 99, 101, 98, 102.5], [107.0, 104, 111, 108, 103.5, 109]
    cell = compare([with_speeds(base, old)], [with_speeds(base, new)]).cells[0]
    assert cell.ratio is not None
    test = stats.ttest_ind(np.log(new), np.log(old), equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert cell.ratio.value == pytest.approx(stats.gmean(new) / stats.gmean(old))
    assert (cell.ratio.low, cell.ratio.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert cell.change is Change.FASTER


def test_over_all_is_the_mean_of_the_logs_with_its_own_interval(base: Record, vary: Vary) -> None:
    other = vary(base, input_tokens=60)
    old = [with_speeds(base, [100, 101, 99, 100, 102, 98]), with_speeds(other, [50, 50.4, 49.8, 50.1, 49.7, 50])]
    new = [with_speeds(base, [90, 91, 89, 90.5, 90, 89.5]), with_speeds(other, [55, 55.3, 54.6, 55, 55.2, 54.9])]
    compared = compare(old, new)
    ratios = [cell.ratio for cell in compared.cells]
    assert [cell.change for cell in compared.cells] == [Change.SLOWER, Change.FASTER]
    assert compared.overall is not None
    assert compared.overall.value == pytest.approx(math.sqrt(math.prod(ratio.value for ratio in ratios if ratio)))
    errors = [np.var(np.log([sample.duration_s for sample in record.samples]), ddof=1) / 6 for record in old + new]
    width = math.log(compared.overall.high or 0) - math.log(compared.overall.low or 0)
    least = 2 * stats.t.ppf(0.975, 20) * math.sqrt(sum(errors)) / 2  # 20: the most degrees of freedom there can be
    most = 2 * stats.t.ppf(0.975, 5) * math.sqrt(sum(errors)) / 2  # 5: the fewest
    assert least <= width <= most


@pytest.mark.parametrize("kind", ["normal", "skewed"])
@pytest.mark.parametrize("repeats", [6, 10])
def test_pairs_of_the_same_are_called_different_at_most_one_time_in_twenty(
    base: Record, kind: str, repeats: int, capsys: pytest.CaptureFixture[str]
) -> None:
    random, pairs, different, decided = np.random.default_rng(7), 4000, 0, 0
    for _ in range(pairs):
        noise = random.normal(0, 0.02, (2, repeats)) if kind == "normal" else random.gamma(2, 0.015, (2, repeats))
        old, new = (with_speeds(base, list(100 * np.exp(-side))) for side in noise)
        change = compare([old], [new]).cells[0].change
        different += change in (Change.FASTER, Change.SLOWER)
        decided += change is not Change.UNDECIDED
    with capsys.disabled():
        called = f"{different} of {pairs} called different ({different / pairs:.2%})"
        print(f"\nA/A, {kind}, {repeats} repeats: {called}, {pairs - decided} without a verdict")  # noqa: T201
    assert different / pairs <= 0.05
    assert decided / pairs > 0.75


def test_a_real_difference_is_found(base: Record) -> None:
    random = np.random.default_rng(3)
    found = 0
    for _ in range(200):
        old, new = (list(speed * np.exp(random.normal(0, 0.01, 7))) for speed in (100, 95))
        found += compare([with_speeds(base, old)], [with_speeds(base, new)]).cells[0].change is Change.SLOWER
    assert found >= 150  # the rest is mostly without a verdict, because its repeats look dependent


def test_too_few_or_dependent_repeats_give_a_ratio_and_no_verdict(base: Record) -> None:
    few = compare([with_speeds(base, [100, 101, 99])], [with_speeds(base, [50, 51, 49])]).cells[0]
    assert few.change is Change.UNDECIDED
    assert few.ratio is not None
    assert few.ratio.value == pytest.approx(0.5, abs=0.01)
    assert few.ratio.low is None
    assert "6 are needed" in few.reason
    rising = compare([with_speeds(base, list(range(100, 110)))], [with_speeds(base, [50, 51, 49, 50, 52, 48])]).cells[0]
    assert rising.change is Change.UNDECIDED
    assert "depend on each other" in rising.reason


def test_the_process_is_the_unit_where_there_are_several(base: Record) -> None:
    """Two processes each lucky or unlucky as a whole: many repeats must not make that look certain."""

    def processes(means: list[float]) -> list[Record]:
        return [
            with_speeds(
                base.model_copy(update={"record_id": f"sha256:{mean}"}), [mean + step for step in (0, 0.1, -0.1, 0.05)]
            )
            for mean in means
        ]

    cell = compare(processes([100, 110, 95]), processes([104, 93, 99])).cells[0]
    assert cell.change is Change.SAME
    assert cell.ratio is not None
    test = stats.ttest_ind(np.log([104, 93, 99]), np.log([100, 110, 95]), equal_var=False)
    assert math.log(cell.ratio.high or 0) == pytest.approx(test.confidence_interval(0.95).high, abs=1e-3)
    two = compare(processes([100, 101]), processes([50, 51])).cells[0]
    assert two.change is Change.UNDECIDED
    assert "3 are needed" in two.reason


def test_unlike_machines_and_protocols_are_not_compared_unless_asked(
    base: Record, measured: dict[str, Record], vary: Vary
) -> None:
    other = vary(measured["ok"], machine=base.machine.model_copy(update={"processor": "Xeon"}))
    cell = compare([base], [other]).cells[0]
    assert (cell.change, cell.ratio) == (Change.NOT_COMPARED, None)
    assert "unlike processors: AMD EPYC 9555, 16 cores / Xeon, 16 cores" in cell.reason
    assert compare([base], [other], across=frozenset({"machine"})).cells[0].ratio is not None
    warm = vary(measured["ok"], protocol={"warmups": 3})
    assert "unlike warm-ups: 1 / 3" in compare([base], [warm]).cells[0].reason
    assert compare([base], [warm], across=frozenset({"machine"})).cells[0].ratio is None
    assert compare([base], [warm], across=frozenset({"protocol"})).cells[0].ratio is not None
    quick = vary(measured["ok"], protocol={"quick": True}, samples=())
    assert compare([base], [quick]).cells[0].ratio is None


def test_what_no_longer_runs_is_broken(base: Record, measured: dict[str, Record], vary: Vary) -> None:
    oom = vary(measured["oom"])
    assert compare([base], [oom]).cells[0].change is Change.BROKEN
    assert compare([oom], [base]).cells[0].change is Change.FIXED
    assert compare([oom], [oom]).cells[0].change is Change.NOT_COMPARED
    assert compare([base], [oom]).cells[0].regressed(0.5)
    invalid = vary(measured["invalid"], protocol={"repeats": 7})
    assert compare([base], [invalid]).cells[0].change is Change.BROKEN


def test_cells_of_one_side_are_named(base: Record, measured: dict[str, Record], vary: Vary) -> None:
    longer = vary(measured["ok"], input_tokens=60)
    compared = compare([base, longer], [base])
    assert compared.only_before == (longer,)
    assert compared.only_after == ()
    assert len(compared.cells) == 1


@pytest.mark.parametrize(
    ("factor", "status", "said"),
    [
        (1.0, 0, "No cell of 2 regressed by more than 3%."),
        (0.9, 0, "faster"),
        (1.02, 0, "No cell of 2 regressed by more than 3%."),
        (1.2, 1, "2 of 2 cells regressed by more than 3%."),
    ],
)
def test_gate(
    measured: dict[str, Record],
    vary: Vary,
    stored: Callable[..., Path],
    command: Command,
    factor: float,
    status: int,
    said: str,
) -> None:
    lengths = (6, 60)
    old = stored([vary(measured["ok"], input_tokens=length) for length in lengths], "old")
    later = "2026-03-03T00:00:00+00:00"
    new = stored(
        [vary(measured["ok"], input_tokens=length, factor=factor, created_at=later) for length in lengths], "new"
    )
    done = command("gate", new, "--baseline", old, "--max_regression", "3%")
    assert (done.returncode, done.stderr) == (status, "")
    assert said in done.stdout
    rows = json.loads(command("gate", new, "--baseline", old, "--format", "json").stdout)
    assert [row["regressed"] for row in rows] == [status == 1] * 2
    assert rows[0]["ratio"] == pytest.approx(1 / factor)
    assert rows[0]["before_record_ids"] != rows[0]["after_record_ids"]


def test_gate_without_an_interval_does_not_pass(
    measured: dict[str, Record], vary: Vary, stored: Callable[..., Path], command: Command
) -> None:
    few = vary(measured["doubtful"])
    folder = stored([few])
    done = command("gate", folder, "--baseline", folder)
    assert done.returncode == 1
    assert "No cell of 1 has an interval to decide by." in done.stdout


def test_no_common_cell_is_one_line(
    measured: dict[str, Record], vary: Vary, stored: Callable[..., Path], command: Command
) -> None:
    one, other = stored([vary(measured["ok"])], "one"), stored([vary(measured["ok"], input_tokens=7)], "other")
    done = command("compare", one, other)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no cell in common" in done.stderr
