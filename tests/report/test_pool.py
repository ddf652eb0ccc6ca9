"""Which records stand for a cell: what was measured alike is pooled, what is out of date is left out and counted."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from speed_benchmark.judge.judge import judged
from speed_benchmark.record.machine import MachineState
from speed_benchmark.record.record import Provenance, Record
from speed_benchmark.report import documents, pool
from speed_benchmark.report.formats import render
from speed_benchmark.report.reference import publication
from speed_benchmark.report.rows import Row
from tests.report.made import CPU, record, shown, vary

Command = Callable[..., CompletedProcess[str]]
DAY = "2026-02-{:02}T00:00:00+00:00"
SPEEDS = (1.0, 1.02, 0.99)


def rounds(**changes: Any) -> list[Record]:
    """Three records of one cell, each a little faster or slower than the others as a whole."""
    return [
        vary(record(), factor=factor, created_at=DAY.format(day), **changes) for day, factor in enumerate(SPEEDS, 1)
    ]


def disturbed(one: Record) -> Record:
    """The same, while others were busy on the GPUs."""
    return vary(one, created_at=one.created_at, busy=("another program",))


def only(rows: list[Row]) -> Row:
    (found,) = [row for row in rows if not row.older]
    return found


def test_rounds_of_a_cell_are_pooled_as_processes() -> None:
    """They were called older and left out, so that their power was lost."""
    records = rounds()
    (row,) = shown(records)
    means = [judged(one).judgement.summary for one in records]
    speeds = [summary.generation_tokens_per_s.mean for summary in means if summary]
    assert row.generation_tokens_per_s == pytest.approx(sum(speeds) / 3)
    assert (row.repeats, row.warmups, row.processes) == (21, 3, 3)
    assert row.record_id == records[2].record_id
    assert row.record_ids == tuple(one.record_id for one in reversed(records))
    assert (row.created_at, row.file) == (DAY.format(3), "2.json")
    assert row.generation_tokens_per_s_low is not None  # three processes give an interval: wider than that of repeats
    assert row.generation_tokens_per_s_high is not None
    assert row.generation_tokens_per_s_high - row.generation_tokens_per_s_low > max(speeds) - min(speeds)
    text = render(documents.report([row], "en", "qwen2.5"), "markdown")
    assert "older" not in text
    assert "3 records of the same cells, machine and versions are pooled" in text


def test_a_pooled_record_is_one_of_several_processes() -> None:
    one, other = rounds()[:2]
    two = vary(
        other, protocol={"processes": 2}, samples=(*other.samples, other.samples[0].model_copy(update={"process": 1}))
    )
    whole = pool.pooled([one, two])
    assert whole.cell.protocol.processes == 3
    assert [sample.process for sample in whole.samples] == [0] * 7 + [1] * 7 + [2]
    assert [sample.process for sample in whole.warmups] == [0, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": Provenance(tool_version="0", packages={"transformers": "6.0.0", "torch": "2.13.0"})},
        {"provenance": Provenance(tool_version="0", measurement_version=0)},
        {"prompt": "chat"},
    ],
)
def test_of_another_version_the_newest_stands_in_the_table(changes: dict[str, Any]) -> None:
    old, new = vary(record(), created_at=DAY.format(1), **changes), vary(record(), created_at=DAY.format(2), factor=2.0)
    rows = shown([new, old])
    assert only(rows).record_id == new.record_id
    text = render(documents.report(rows, "en", "qwen2.5"), "markdown")
    assert text.count("| Qwen2.5-0.5B-Instruct |") == 1
    assert f"{only(rows).generation_tokens_per_s:.2f}" in text
    assert "1 older record" in text


def test_a_tool_that_measures_the_same_makes_no_other_version() -> None:
    first, second, third = rounds()
    provenance = first.provenance.model_copy(update={"tool_version": "0.3.0", "git_commit": "abc", "python": "3.12"})
    (row,) = shown([first, second, vary(third, created_at=third.created_at, provenance=provenance)])
    assert len(row.record_ids) == 3


@pytest.mark.parametrize(
    ("one", "other", "rows"),
    [
        ({}, {"system": "Linux 9", "memory_bytes": CPU.memory_bytes - 2**20}, 1),
        ({}, {"processor": "Xeon"}, 2),
        ({}, {"memory_bytes": CPU.memory_bytes // 2}, 2),
        ({"driver": "1"}, {"driver": "2"}, 2),
    ],
)
def test_each_machine_has_its_own_row(one: dict[str, Any], other: dict[str, Any], rows: int) -> None:
    machines = [CPU.model_copy(update=changes) for changes in (one, other)]
    records = [vary(record(), created_at=DAY.format(day), machine=machine) for day, machine in enumerate(machines, 1)]
    found = shown(records)
    assert len([row for row in found if not row.older]) == rows


def test_what_was_disturbed_is_replaced_by_a_later_one_that_was_not() -> None:
    """`--retry doubtful` measures again: the doubt must not stay."""
    first, second, third = rounds()
    fourth = vary(record(), created_at=DAY.format(4))
    bad = disturbed(first)
    assert judged(bad).judgement.verdict == "doubtful"
    rows = shown([bad, second, third, fourth])
    assert only(rows).record_ids == (fourth.record_id, third.record_id, second.record_id)
    assert only(rows).verdict == "valid"
    assert [row.record_ids for row in rows if row.older] == [(bad.record_id,)]


def test_what_is_doubted_of_the_newest_is_doubted_of_the_pool() -> None:
    first, second, third = rounds()
    bad = disturbed(third)
    row = only(shown([first, second, bad]))
    assert len(row.record_ids) == 3
    assert row.verdict == "doubtful"
    assert row.findings.count("busy_gpu") == 1


def test_a_spread_is_judged_over_the_pool_and_leaves_no_record_out() -> None:
    """Rounds that vary must not be left out because they vary: that would make the rest look steady."""
    uneven = vary(record([(0.1, 0.01), (0.1, 0.012), (0.1, 0.008)] * 2 + [(0.1, 0.01)]), created_at=DAY.format(1))
    assert judged(uneven).judgement.verdict == "doubtful"
    (row,) = shown([uneven, *rounds()[1:]])
    assert len(row.record_ids) == 3


@pytest.mark.attack("1.17", "4.6")
def test_a_measurement_that_is_stored_again_counts_once() -> None:
    """Copies of one record, each with another id, made an interval of many processes."""
    first, second, third = rounds()
    copies = [third.model_copy(update={"record_id": f"sha256:{number}", "load_s": number}) for number in (1, 2, 3)]
    rows = shown([first, second, *copies])
    assert only(rows).record_ids == ("sha256:3", second.record_id, first.record_id)
    note = "the same measurement is in a newer record"
    assert {row.record_id: row.notes[-1] for row in rows if row.older} == {"sha256:1": note, "sha256:2": note}
    assert note not in only(rows).notes


def test_rounds_by_a_virtual_clock_are_different_measurements() -> None:
    """It starts anew in each process, so that the same moments come again."""
    one = record()
    assert one.loaded
    simulated = vary(one, loaded=one.loaded.model_copy(update={"simulated": True}))
    again = simulated.model_copy(update={"record_id": "sha256:1"})
    (row,) = shown([simulated, again])
    assert len(row.record_ids) == 2


def test_a_failure_is_never_pooled(measured: dict[str, Record]) -> None:
    first, second, third = rounds()
    failed = vary(measured["oom"], created_at=DAY.format(9), protocol={"repeats": 7})
    failed = failed.model_copy(update={"cell": first.cell, "cell_id": first.cell_id})
    rows = shown([first, second, third, failed])
    assert (only(rows).outcome, only(rows).record_ids) == ("oom", (failed.record_id,))
    assert [len(row.record_ids) for row in rows if row.older] == [3]
    early = failed.model_copy(
        update={"created_at": DAY.format(1)[:5] + "01-01T00:00:00+00:00", "record_id": "sha256:0"}
    )
    assert len(only(shown([early, first, second, third])).record_ids) == 3


def test_no_pool_grows_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_POOLED", 2)
    rows = shown(rounds())
    assert sorted((len(row.record_ids), row.older) for row in rows) == [(1, True), (2, False)]


def test_a_reboot_between_rounds_is_no_doubt() -> None:
    """The clocks and the memory of one boot say nothing of another's."""
    first, second, third = rounds()
    later = MachineState(unix_s=2e9, load_1min=0.1, memory_available_bytes=2**30)
    moved = tuple(
        sample.model_copy(update={"started_at_unix_s": 2e9 + 9 * number, "started_at_s": 1.0 + 9 * number})
        for number, sample in enumerate(third.samples)
    )
    third = vary(third, created_at=third.created_at, machine_before=later)
    third = third.model_copy(update={"samples": moved})
    own = {code for one in (first, second, third) for code in shown([one])[0].findings}
    assert set(only(shown([first, second, third])).findings) - pool.SPREAD <= own


def test_rounds_of_a_folder_are_one_line(stored: Callable[..., Path], command: Command) -> None:
    records = rounds()
    folder = stored(records)
    (row,) = json.loads(command("report", folder, "--format", "json").stdout)
    assert row["record_ids"] == [one.record_id for one in reversed(records)]
    done = command("report", folder, "--format", "jsonl")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["record_id"] for line in lines} == set(row["record_ids"])


@pytest.mark.attack("4.8")
def test_a_record_that_bears_another_models_name_is_not_laid_beside_its_figures(
    stored: Callable[..., Path], command: Command
) -> None:
    """Its weights are those of a model of 0.5B, which is two hundredths of what 72B have."""
    asked = {"gpus": 1, "input_tokens": 1}
    long = record(((0.1, 0.01), (0.1, 0.0101), (0.1, 0.0099)), tokens=2048)
    own, other = vary(long, **asked), vary(long, model="Qwen/Qwen2.5-72B-Instruct", **asked)
    done = command("reference", stored([own, other], "both"), "--format", "markdown")
    assert done.returncode == 0
    assert "72B-Instruct (" not in done.stdout
    assert (
        "called Qwen2.5-72B-Instruct and with 0.93 GiB of weights; those of that model are 135.43 GiB." in done.stdout
    )
    done = command("reference", stored([other], "other"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "those of that model are 135.43 GiB" in done.stderr


def test_published_figures_are_laid_beside_the_pool() -> None:
    asked = replace(publication("qwen2.5"), generate_length=80)
    records = rounds(gpus=1, input_tokens=1)
    batch = vary(record(batch_size=4), gpus=1, input_tokens=1)
    (row,) = documents.reference(shown([*records, batch]), asked, "en").data
    assert row.record_ids == tuple(one.record_id for one in reversed(records))  # type: ignore[attr-defined]
    assert row.generation_tokens_per_s == only(shown(records)).generation_tokens_per_s  # type: ignore[attr-defined]
