"""The report is a function of the store: golden texts, numbers that are all in the store, formats that parse."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import docutils.core
import docutils.nodes
import numpy as np
import pytest
from markdown_it import MarkdownIt

from speed_benchmark.record.record import Agreement, Record
from speed_benchmark.record.store import serialize
from speed_benchmark.report import documents
from speed_benchmark.report.exports import to_csv
from speed_benchmark.report.formats import render
from speed_benchmark.report.rows import Row, rows
from speed_benchmark.report.tables import explain, explain_all, print_table
from speed_benchmark.report.words import WORDS, Format, Language

GOLDEN = Path(__file__).parent / "golden"
Command = Callable[..., CompletedProcess[str]]
Vary = Callable[..., Record]


def table_rows(records: list[Record]) -> list[Row]:
    return rows((f"{index}.json", record) for index, record in enumerate(records))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("form", "suffix"), [("markdown", "md"), ("rst", "rst"), ("text", "txt")])
def test_golden(golden_records: list[Record], language: Language, form: Format, suffix: str) -> None:
    """UPDATE_GOLDEN=1 writes the files anew; look at the difference before it is committed."""
    text = render(documents.report(table_rows(golden_records), language, "qwen2.5"), form)
    file = GOLDEN / f"report.{language}.{suffix}"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("form", ["markdown", "rst", "html", "csv", "json", "jsonl", "parquet"])
def test_same_store_same_bytes(
    golden_records: list[Record], stored: Callable[..., Path], command: Command, tmp_path: Path, form: str
) -> None:
    folder = stored(golden_records)
    for name in ("first", "second"):
        done = command("report", folder, "--format", form, "--out", tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert (tmp_path / "first").stat().st_size > 1000


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("form", ["markdown", "rst", "text"])
def test_no_number_that_is_not_in_the_store(golden_records: list[Record], language: Language, form: Format) -> None:
    """Speeds are rounded to two decimals, memory is in GiB with two decimals; all else is as stored."""
    found = [leaf for record in golden_records for leaf in leaves(record.model_dump(mode="json"))]
    numbers = [leaf for leaf in found if isinstance(leaf, int | float) and not isinstance(leaf, bool)]
    known = {f"{number:.2f}" for number in numbers} | {f"{number / 2**30:.2f}" for number in numbers}
    known |= {str(number) for number in numbers}
    known |= {str(len(record.samples)) for record in golden_records} | {str(len(r.warmups)) for r in golden_records}
    texts = [leaf for leaf in found if isinstance(leaf, str)] + list(WORDS[language].values())
    known |= {number for text in texts for number in re.findall(r"\d+(?:\.\d+)*", text)}
    report = render(documents.report(table_rows(golden_records), language, "qwen2.5"), form)
    printed = re.findall(r"\d+(?:\.\d+)*", re.sub(r"\[\d+\]", "", report))
    assert len(printed) > 100
    assert [number for number in printed if number not in known] == []


def test_csv_holds_the_store_unrounded(golden_records: list[Record]) -> None:
    by_id = {record.record_id: record for record in golden_records}
    lines = list(csv.DictReader(io.StringIO(to_csv(table_rows(golden_records)))))
    assert len(lines) == len(golden_records)
    for line in lines:
        record = by_id[line["record_id"]]
        if record.summary is None:
            assert line["generation_tokens_per_s"] == ""
            continue
        assert float(line["generation_tokens_per_s"]) == record.summary.generation_tokens_per_s.mean
        assert float(line["total_tokens_per_s"]) == record.summary.total_tokens_per_s.mean
        speeds = [sample.output_tokens / sample.duration_s for sample in record.samples]
        assert json.loads(line["repeat_tokens_per_s"]) == speeds
        gaps = np.concatenate([np.diff(sample.token_times_s) for sample in record.samples])
        if len(gaps) >= 64:
            assert json.loads(line["inter_token_s"])[2] == pytest.approx(np.median(gaps), rel=1e-12)


def test_qwen3_speed_counts_the_prompt(golden_records: list[Record]) -> None:
    shown = table_rows(golden_records)
    plain, total = (render(documents.report(shown, "en", speed), "markdown") for speed in ("qwen2.5", "qwen3"))
    row = next(row for row in shown if row.input_tokens == 6144 and row.measured)
    assert row.total_tokens_per_s is not None
    assert row.generation_tokens_per_s is not None
    assert row.total_tokens_per_s == pytest.approx(row.generation_tokens_per_s * (6144 + 80) / 80)
    assert f"{row.total_tokens_per_s:.2f}" in total
    assert f"{row.total_tokens_per_s:.2f}" not in plain
    assert "Qwen3 definition" in total
    assert "Qwen2.5 definition" in plain


@pytest.mark.parametrize("language", ["en", "zh"])
def test_rst_is_read_by_docutils_with_spanned_cells(golden_records: list[Record], language: Language) -> None:
    text = render(documents.report(table_rows(golden_records), language, "qwen2.5"), "rst")
    tree = docutils.core.publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 2})
    tables = list(tree.findall(docutils.nodes.table))
    assert len(tables) == 2  # transformers and vLLM
    entries = list(tables[0].findall(docutils.nodes.entry))
    assert entries[len(list(tables[0].findall(docutils.nodes.colspec)))]["morerows"] == 11  # one model, 12 lines
    assert "6144" in [entry.astext() for entry in entries if entry.get("morerows") == 2]


def test_markdown_is_read_with_one_cell_a_figure(golden_records: list[Record]) -> None:
    text = render(documents.report(table_rows(golden_records), "en", "qwen2.5"), "markdown")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.type == "table_open" for token in tokens) == 2
    heads = sum(token.type == "th_open" for token in tokens)
    cells = sum(token.type == "td_open" for token in tokens)
    first = [line for line in text.splitlines() if line.startswith("| Model")]
    assert heads == sum(line.count("|") - 1 for line in first)
    assert cells == 12 * (first[0].count("|") - 1) + 9 * (first[1].count("|") - 1)


def test_layout_of_the_qwen_page(golden_records: list[Record]) -> None:
    text = render(documents.report(table_rows(golden_records), "en", "qwen2.5"), "markdown")
    assert "| Model | Input Length | Quantization | GPU Num | Speed (tokens/s) | GPU Memory (GiB) |" in text
    vllm = text[text.index("(vLLM)") :]
    assert "| Model | Input Length | Quantization | GPU Num | Speed (tokens/s) |\n" in vllm  # memory is not known
    lengths = re.findall(r"^\| Qwen2.5-0.5B-Instruct \| (\d+) \| (\S+)", vllm, re.MULTILINE)
    assert lengths[:4] == [("1", "BF16"), ("1", "GPTQ-Int4"), ("1", "AWQ"), ("6144", "BF16")]


def test_outcomes_and_doubts_say_why_below_the_table(golden_records: list[Record]) -> None:
    lines = render(documents.report(table_rows(golden_records), "en", "qwen2.5"), "markdown").splitlines()
    cells = {length: next(line for line in lines if f"| {length} |" in line) for length in ("30720", "63488", "129024")}
    assert re.search(r"\d\.\d\d doubtful \[1\]", cells["30720"])
    assert "| oom [2] |" in cells["63488"]
    assert "| invalid [3] |" in cells["129024"]
    notes = [line for line in lines if line.startswith("- [")]
    assert "nothing ran before the first repeat" in notes[0]
    assert "the fake device is full" in notes[1]
    assert "79 out" in notes[2]


def test_the_terminal_explains_each_record_below_its_name(measured: dict[str, Record], vary: Vary) -> None:
    slow = measured["ok"].warmups[0].model_copy(update={"duration_s": 2.5})
    short, long = (vary(measured["ok"], input_tokens=tokens) for tokens in (6, 600))
    long = long.model_copy(update={"warmups": (slow,)})
    failed = vary(measured["oom"], input_tokens=6000)
    lines = explain_all([short, long, failed])
    assert [line for line in lines if not line.startswith(("  ", "all: "))] == [
        f"Qwen2.5-0.5B-Instruct BF16 transformers {tokens}" for tokens in (6, 600, 6000)
    ]
    ran = "ran: BF16, fake attention, eager, rope default, on fake"
    assert lines[-1] == f"all: {ran}"
    assert f"  {ran}" not in lines
    assert lines.count("  the first request took 2.5 s, 2.8 times as long as a repeat") == 1
    assert lines.index("  the first request took 2.5 s, 2.8 times as long as a repeat") > lines.index(
        "Qwen2.5-0.5B-Instruct BF16 transformers 600"
    )
    assert explain_all([short]) == explain(short)
    agreed = short.model_copy(update={"agreement": Agreement(engine="vllm", record_id="", compared=16, agreed=12)})
    assert "vllm chose the same first 12 of 16 tokens" in explain(agreed)
    assert explain_all([]) == []


def test_the_terminal_shows_an_interval_and_no_other_spread(
    measured: dict[str, Record], vary: Vary, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    seven = measured["ok"]
    assert seven.summary
    interval = seven.summary.generation_tokens_per_s.interval
    assert interval
    print_table([seven], [])
    shown = capsys.readouterr().out
    assert f"{seven.summary.generation_tokens_per_s.mean:.2f} ± {(interval.high - interval.low) / 2:.2f} " in shown
    assert "95 % confidence interval" in shown
    print_table([vary(seven, samples=seven.samples[:3], protocol={"repeats": 3})], [])
    assert "±" not in capsys.readouterr().out


def test_the_terminal_shows_many_repeats_some_together(
    measured: dict[str, Record], vary: Vary, capsys: pytest.CaptureFixture[str]
) -> None:
    seven = measured["ok"]
    rows = [(30, 30, "repeat 30 "), (31, 16, "repeat 31 "), (100, 25, "repeats 97 to 100 ")]
    for count, lines, last in rows:
        samples = tuple(seven.samples[number % 7] for number in range(count))
        record = vary(seven, samples=samples, protocol={"repeats": count})
        print_table([record], [])
        bars = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("repeat")]
        assert len(bars) == lines
        assert bars[-1].startswith(last)
    mean = sum(sample.output_tokens / sample.duration_s for sample in samples[96:]) / 4
    assert bars[-1].endswith(f" {mean:.2f}")


def test_only_what_varies_is_a_column(
    golden_records: list[Record], measured: dict[str, Record], vary: Callable[..., Record]
) -> None:
    cold = vary(measured["ok"], gpus=1, input_tokens=1, protocol={"warmups": 2})
    both = table_rows([golden_records[0], cold])
    alike = render(documents.report(both[:1], "en", "qwen2.5"), "markdown")
    assert "Machine" not in alike
    other = cold.machine.model_copy(update={"driver": "580.1"})
    moved = vary(measured["ok"], gpus=1, machine=other)
    text = render(documents.report(table_rows([golden_records[0], moved]), "en", "qwen2.5"), "markdown")
    assert "| Driver |" in text
    assert "| 580.1 |" in text


def test_the_newest_record_of_a_cell_stands_in_the_table(
    measured: dict[str, Record], vary: Callable[..., Record]
) -> None:
    old = vary(measured["ok"], factor=2.0)
    new = vary(measured["ok"], created_at="2026-02-02T00:00:00+00:00")
    text = render(documents.report(table_rows([new, old]), "en", "qwen2.5"), "markdown")
    assert text.count("| Qwen2.5-0.5B-Instruct |") == 1
    assert f"{new.summary.generation_tokens_per_s.mean:.2f}" in text  # type: ignore[union-attr]
    assert "1 older record" in text


def test_both_languages_say_the_same() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key, text in WORDS["en"].items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", WORDS["zh"][key])), key


def test_bad_input_is_one_line(
    golden_records: list[Record], stored: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    empty, folder = tmp_path / "empty", stored(golden_records[:1])
    empty.mkdir()
    for arguments, said in (
        (("report", empty), "it holds no record"),
        (("report", tmp_path / "nowhere"), "no such folder"),
        (("report", folder, "--format", "pdf"), "'pdf' is not one of"),
        (("report", folder, "--out", "/proc/nothing/here", "--format", "csv"), "can't be written"),
        (("gate", folder, "--baseline", folder, "--max_regression", "lots"), "like 3% or 0.03"),
        (("reference", folder), "no cell in common"),
    ):
        done = command(*arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_a_damaged_record_is_named_and_the_rest_reported(
    golden_records: list[Record], stored: Callable[..., Path], command: Command
) -> None:
    folder = stored(golden_records)
    changed, forged = sorted(folder.glob("*.json"))[:2]
    changed.write_text(changed.read_text().replace("H100", "B200"))
    content = json.loads(forged.read_text())
    content["summary"]["generation_tokens_per_s"]["mean"] = 99999.5
    content.pop("record_id")
    record = Record.model_validate(content)
    sealed = record.model_copy(update={"record_id": record.derived_id()})
    forged.write_bytes(serialize(sealed))
    done = command("report", folder, "--format", "csv")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2
    assert f"damaged: {changed}: " in done.stderr
    assert f"damaged: {forged}: summary.generation_tokens_per_s.mean is stored as 99999.5" in done.stderr
    assert len(list(csv.reader(io.StringIO(done.stdout)))) == len(golden_records) - 2 + 1
    assert "99999.5" not in done.stdout
