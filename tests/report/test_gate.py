"""The gate: each cell of the baseline is decided, or the exit status says so."""

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from speed_benchmark.judge.judge import judged
from speed_benchmark.record.record import Record
from speed_benchmark.report import documents
from speed_benchmark.report.compare import Comparisons, compare
from speed_benchmark.report.compare import measured as kept
from speed_benchmark.report.decision import Decision, Gate, decide
from speed_benchmark.report.formats import render
from speed_benchmark.report.layout import Command
from speed_benchmark.report.words import Format
from tests.report.made import CPU, REPEATS_S, record, vary

pytestmark = pytest.mark.slow

Run = Callable[..., CompletedProcess[str]]
LATER = "2026-03-03T00:00:00+00:00"
LENGTHS = (1, 2, 3, 4, 5)
LIMIT = 0.03
GATE = Gate(LIMIT, Path("old"), Path("new"))


def baseline() -> list[Record]:
    return [vary(record(), input_tokens=length) for length in LENGTHS]


def new(length: int, factor: float = 1.0, **changed: Any) -> Record:
    return vary(changed.pop("of", record()), input_tokens=length, factor=factor, created_at=LATER, **changed)


def without(number: int) -> list[Record]:
    """The cells of the baseline measured again, but for one."""
    return [new(length) for length in LENGTHS if length != number]


def decided(after: Sequence[Record], before: Sequence[Record] | None = None) -> tuple[Decision, str]:
    """What the gate says of `after` against the baseline, and its last line in English."""
    return decide(comparisons(after, before), LIMIT), notes(after, before)[-1]


def notes(after: Sequence[Record], before: Sequence[Record] | None = None) -> tuple[str, ...]:
    """What stands below the table."""
    (table,) = documents.comparison(comparisons(after, before), "en", "qwen2.5", GATE).tables
    return table.notes


def comparisons(after: Sequence[Record], before: Sequence[Record] | None) -> Comparisons:
    old, now = ([kept(judged(one)) for one in side] for side in (before or baseline(), after))
    return compare(old, now)


def named(length: int) -> str:
    return f"Qwen2.5-0.5B-Instruct BF16 transformers {length}"


def test_all_cells_as_before() -> None:
    decision, last = decided([*without(5), new(5)])
    assert (decision.status, last) == (0, "No cell of 5 regressed by more than 3%.")


@pytest.mark.attack("4.1")
def test_a_missing_cell_is_not_passed() -> None:
    decision, last = decided(without(5))
    assert (decision.status, last) == (1, f"1 cell of the baseline is missing: {named(5)}.")
    decision, last = decided([new(1)])
    assert decision.status == 1
    assert last == f"4 cells of the baseline are missing: {'; '.join(map(named, (2, 3, 4, 5)))}."


@pytest.mark.attack("4.2")
def test_an_undecided_cell_is_not_passed_and_its_loss_is_named() -> None:
    slow = new(5, of=record(REPEATS_S[:2]), factor=1 / 0.6)
    decision, last = decided([*without(5), slow])
    assert (decision.status, last) == (3, f"1 of 5 cells is undecided: {named(5)}.")
    assert decision.losses == decision.undecided
    loss, lead, command = notes([*without(5), slow])[-4:-1]
    assert loss == f"Undecided, but slower on average: {named(5)} by 39.8%."
    assert lead == f"To decide {named(5)}, measure again:"
    assert command == (
        "speed-benchmark run --model_id_or_path Qwen/Qwen2.5-0.5B-Instruct --context_length 5 --generate_length 80 "
        "--engine transformers --processes 2 --precision 2% --retry all --outputs_dir new"
    )


def test_a_command_is_shown_whole_in_each_format() -> None:
    """On one line, without a mark that a shell would take for its own."""
    after = [*without(5), new(5, of=record(REPEATS_S[:2]), factor=1 / 0.6)]
    document = documents.comparison(comparisons(after, None), "en", "qwen2.5", GATE)
    (command,) = [note for note in document.tables[0].notes if isinstance(note, Command)]
    assert shlex.split(command)[-2:] == ["--outputs_dir", "new"]
    forms: dict[Format, str] = {"text": "  ", "markdown": "      ", "rst": "      "}
    for form, indent in forms.items():
        lines = render(document, form).splitlines()
        assert indent + command in lines
        assert form == "text" or lines[lines.index(indent + command) - 1] == ""
    assert "  ::" in render(document, "rst").splitlines()


@pytest.mark.attack("4.3")
def test_unlike_machines_are_decided_only_if_that_is_asked_for(stored: Callable[..., Path], command: Run) -> None:
    other = CPU.model_copy(update={"driver": "570"})
    old, now = stored([vary(record())], "old"), stored([vary(record(), created_at=LATER, machine=other)], "new")
    assert command("gate", now, "--baseline", old).returncode == 3
    assert command("gate", now, "--baseline", old, "--across_machines").returncode == 0
    assert command("gate", now, "--baseline", old, "--across_protocols").returncode == 3


def test_an_undecided_cell_as_fast_as_before_has_no_loss() -> None:
    decision, _ = decided([*without(5), new(5, of=record(REPEATS_S[:2]))])
    assert (decision.status, len(decision.undecided), decision.losses) == (3, 1, ())


def test_an_interval_that_reaches_across_what_is_let_pass_decides_nothing() -> None:
    """2 % slower, known to 2 %: that may be a loss of 4 %."""
    decision, last = decided([*without(5), new(5, factor=1.02)])
    assert (decision.status, last) == (3, f"1 of 5 cells is undecided: {named(5)}.")
    assert decision.losses == ()


def test_what_no_number_of_repeats_decides_is_said_with_what_helps_more() -> None:
    """With the loss just at what is let pass, some thousand repeats of a spread of 2 % would tell."""
    told = notes([*without(5), new(5, factor=1.028)])
    assert not any(isinstance(note, Command) for note in told)
    (said,) = [note for note in told if "would take" in note]
    repeats = int(said.split(" some ")[1].split(" ")[0].replace(",", ""))
    assert repeats > 1000
    assert "a host that is shared with nobody, or the quiet pace" in said


@pytest.mark.attack("4.3", "4.4", "4.5")
@pytest.mark.parametrize(
    "unlike", [{"machine": CPU.model_copy(update={"driver": "570"})}, {"prompt": "chat"}, {"quantization": "FP16"}]
)
def test_a_cell_that_is_not_compared_is_not_passed(unlike: dict[str, Any]) -> None:
    decision, last = decided([*without(5), new(5, **unlike)])
    assert (decision.status, last) == (3, f"1 of 5 cells is undecided: {named(5)}.")


@pytest.mark.attack("4.3")
def test_a_stray_record_hides_no_regression() -> None:
    stray = vary(record(), input_tokens=5, created_at=LATER, machine=CPU.model_copy(update={"driver": "570"}))
    decision, last = decided([*without(5), new(5, factor=1.25), stray])
    assert (decision.status, last) == (1, "1 of 5 cells regressed by more than 3%.")


@pytest.mark.attack("1.17", "4.6")
def test_copies_of_one_measurement_decide_nothing() -> None:
    few = new(5, of=record(REPEATS_S[:2]))
    copies = [few.model_copy(update={"record_id": f"sha256:{number}"}) for number in range(3)]
    decision, _ = decided([*without(5), *copies])
    assert decision.status == 3


def test_what_is_missing_and_undecided_is_said_beside_a_regression() -> None:
    after = [new(1, factor=1.25), new(2), new(3), new(4, of=record(REPEATS_S[:2]))]
    decision, _ = decided(after)
    assert decision.status == 1
    assert notes(after)[-3:] == (
        f"1 of 5 cells is undecided: {named(4)}.",
        f"1 cell of the baseline is missing: {named(5)}.",
        "1 of 5 cells regressed by more than 3%.",
    )


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ("ok", "oom", 1),
        ("ok", "invalid", 1),
        ("oom", "ok", 0),
        ("oom", "oom", 0),
        ("oom", "invalid", 3),
        ("invalid", "ok", 3),
        ("invalid", "invalid", 3),
    ],
)
def test_cells_without_a_speed(measured: dict[str, Record], before: str, after: str, status: int) -> None:
    """What ran out of memory is as it was; of what never had a sound speed nothing can be said."""
    sides = [vary(measured[name], protocol={"repeats": 7}) for name in (before, after)]
    decision, _ = decided([sides[1]], [sides[0]])
    assert decision.status == status


@pytest.mark.parametrize(
    ("factor", "status", "said"),
    [
        (1.0, 0, "No cell of 2 regressed by more than 3%."),
        (0.9, 0, "faster"),
        (1.005, 0, "No cell of 2 regressed by more than 3%."),
        (1.02, 3, "2 of 2 cells are undecided:"),
        (1.2, 1, "2 of 2 cells regressed by more than 3%."),
    ],
)
def test_regressions(
    measured: dict[str, Record],
    stored: Callable[..., Path],
    command: Run,
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


@pytest.mark.attack("4.1", "4.2")
@pytest.mark.parametrize(
    ("lengths", "repeats", "status", "english", "chinese"),
    [
        (
            (1, 2),
            REPEATS_S,
            1,
            f"1 cell of the baseline is missing: {named(3)}.",
            f"基线中有 1 个测试项缺失：{named(3)}。",
        ),
        ((1, 2, 3), REPEATS_S[:2], 3, "3 of 3 cells are undecided:", "3 个测试项中有 3 个无法判断："),
        ((1, 2, 3), REPEATS_S, 0, "No cell of 3 regressed by more than 3%.", "3 个测试项均未退步超过 3%。"),
    ],
)
def test_the_exit_status_and_the_last_line(
    stored: Callable[..., Path],
    command: Run,
    lengths: Sequence[int],
    repeats: Sequence[tuple[float, float]],
    status: int,
    english: str,
    chinese: str,
) -> None:
    old = stored([vary(record(), input_tokens=length) for length in (1, 2, 3)], "old")
    now = stored([new(length, of=record(repeats)) for length in lengths], "new")
    for language, last in (("en", english), ("zh", chinese)):
        done = command("gate", now, "--baseline", old, "--lang", language, "--format", "rst")
        assert (done.returncode, done.stderr) == (status, "")
        assert last in done.stdout.splitlines()[-1]


def test_a_damaged_file_is_not_passed(stored: Callable[..., Path], command: Run) -> None:
    old, now = stored(baseline(), "old"), stored([*without(5), new(5)], "new")
    assert command("gate", now, "--baseline", old).returncode == 0
    file = next(now.glob("*.json"))
    file.write_bytes(file.read_bytes().replace(b'"random"', b'"chat"'))
    assert command("gate", now, "--baseline", old).returncode == 1
