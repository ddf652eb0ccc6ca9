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

from speed_benchmark.judge.judge import judged
from speed_benchmark.record.record import Record
from speed_benchmark.report import documents
from speed_benchmark.report.exports import to_csv, to_json
from speed_benchmark.report.formats import render
from speed_benchmark.report.words import Format, Language, words
from tests.report.made import GIB, record, shown, vary

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent / "golden"
Command = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("form", "suffix"), [("markdown", "md"), ("rst", "rst"), ("text", "txt")])
def test_golden(golden_records: list[Record], language: Language, form: Format, suffix: str) -> None:
    """UPDATE_GOLDEN=1 writes the files anew; look at the difference before it is committed."""
    text = render(documents.report(shown(golden_records, language), language, "qwen2.5"), form)
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
    content = [record.model_dump(mode="json") for record in golden_records]
    content += [judged(record).judgement.model_dump(mode="json") for record in golden_records]
    found = [leaf for one in content for leaf in leaves(one)]
    numbers = [leaf for leaf in found if isinstance(leaf, int | float) and not isinstance(leaf, bool)]
    known = {f"{number:.2f}" for number in numbers} | {f"{number / 2**30:.2f}" for number in numbers}
    known |= {str(number) for number in numbers}
    known |= {str(len(record.samples)) for record in golden_records} | {str(len(r.warmups)) for r in golden_records}
    texts = [leaf for leaf in found if isinstance(leaf, str)] + list(words(language).values())
    known |= {number for text in texts for number in re.findall(r"\d+(?:\.\d+)*", text)}
    report = render(documents.report(shown(golden_records, language), language, "qwen2.5"), form)
    printed = re.findall(r"\d+(?:\.\d+)*", re.sub(r"\[\d+\]", "", report))
    assert len(printed) > 100
    assert [number for number in printed if number not in known] == []


def test_csv_holds_the_store_unrounded(golden_records: list[Record]) -> None:
    by_id = {record.record_id: record for record in golden_records}
    lines = list(csv.DictReader(io.StringIO(to_csv(shown(golden_records)))))
    assert len(lines) == len(golden_records)
    for line in lines:
        record = by_id[line["record_id"]]
        summary = judged(record).judgement.summary
        if summary is None:
            assert line["generation_tokens_per_s"] == ""
            continue
        assert float(line["generation_tokens_per_s"]) == summary.generation_tokens_per_s.mean
        assert float(line["total_tokens_per_s"]) == summary.total_tokens_per_s.mean
        assert json.loads(line["record_ids"]) == [record.record_id]
        speeds = [sample.output_tokens / sample.duration_s for sample in record.samples]
        assert json.loads(line["repeat_tokens_per_s"]) == speeds
        gaps = np.concatenate([np.diff(sample.sequences[0].token_times_s) for sample in record.samples])
        if len(gaps) >= 64:
            assert json.loads(line["inter_token_s"])[2] == pytest.approx(np.median(gaps), rel=1e-12)


def test_qwen3_speed_counts_the_prompt(golden_records: list[Record]) -> None:
    rows = shown(golden_records)
    plain, total = (render(documents.report(rows, "en", speed), "markdown") for speed in ("qwen2.5", "qwen3"))
    row = next(row for row in rows if row.context_length == 6144 and row.measured)
    assert row.total_tokens_per_s is not None
    assert row.generation_tokens_per_s is not None
    assert row.total_tokens_per_s == pytest.approx(row.generation_tokens_per_s * (6144 + 80) / 80)
    assert f"{row.total_tokens_per_s:.2f}" in total
    assert f"{row.total_tokens_per_s:.2f}" not in plain
    assert "Qwen3 definition" in total
    assert "Qwen2.5 definition" in plain


@pytest.mark.parametrize("language", ["en", "zh"])
def test_rst_is_read_by_docutils_with_spanned_cells(golden_records: list[Record], language: Language) -> None:
    text = render(documents.report(shown(golden_records, language), language, "qwen2.5"), "rst")
    tree = docutils.core.publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 2})
    tables = list(tree.findall(docutils.nodes.table))
    assert len(tables) == 2  # transformers and vLLM
    entries = list(tables[0].findall(docutils.nodes.entry))
    assert entries[len(list(tables[0].findall(docutils.nodes.colspec)))]["morerows"] == 11  # one model, 12 lines
    assert "6144" in [entry.astext() for entry in entries if entry.get("morerows") == 2]


def test_markdown_is_read_with_one_cell_a_figure(golden_records: list[Record]) -> None:
    text = render(documents.report(shown(golden_records), "en", "qwen2.5"), "markdown")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.type == "table_open" for token in tokens) == 2
    heads = sum(token.type == "th_open" for token in tokens)
    cells = sum(token.type == "td_open" for token in tokens)
    first = [line for line in text.splitlines() if line.startswith("| Model")]
    assert heads == sum(line.count("|") - 1 for line in first)
    assert cells == 12 * (first[0].count("|") - 1) + 9 * (first[1].count("|") - 1)


def test_layout_of_the_qwen_page(golden_records: list[Record]) -> None:
    text = render(documents.report(shown(golden_records), "en", "qwen2.5"), "markdown")
    assert "| Model | Input Length | Quantization | GPU Num | Speed (tokens/s) | GPU Memory (GiB) |" in text
    vllm = text[text.index("(vLLM)") :]
    assert "| Model | Input Length | Quantization | GPU Num | Speed (tokens/s) |\n" in vllm  # memory is not known
    lengths = re.findall(r"^\| Qwen2.5-0.5B-Instruct \| (\d+) \| (\S+)", vllm, re.MULTILINE)
    assert lengths[:4] == [("1", "BF16"), ("1", "GPTQ-Int4"), ("1", "AWQ"), ("6144", "BF16")]


def test_outcomes_and_doubts_say_why_below_the_table(golden_records: list[Record]) -> None:
    lines = render(documents.report(shown(golden_records), "en", "qwen2.5"), "markdown").splitlines()
    cells = {length: next(line for line in lines if f"| {length} |" in line) for length in ("30720", "63488", "129024")}
    assert re.search(r"\d\.\d\d doubtful \[1\]", cells["30720"])
    assert "| oom [2] |" in cells["63488"]
    assert "| invalid [3] |" in cells["129024"]
    notes = [line for line in lines if line.startswith("- [")]
    assert "nothing ran before the first repeat" in notes[0]
    assert "the fake device is full" in notes[1]
    assert "79 out" in notes[2]


def test_only_what_varies_is_a_column(golden_records: list[Record], measured: dict[str, Record]) -> None:
    alike = render(documents.report(shown(golden_records[:1]), "en", "qwen2.5"), "markdown")
    assert "Machine" not in alike
    moved = vary(measured["ok"], gpus=1)
    moved = vary(moved, gpus=1, machine=moved.machine.model_copy(update={"driver": "580.1"}))
    text = render(documents.report(shown([golden_records[0], moved]), "en", "qwen2.5"), "markdown")
    assert "| Driver |" in text
    assert "| 580.1 |" in text


def test_options_of_an_engine_are_columns_under_their_own_names(measured: dict[str, Record]) -> None:
    """Also those of an engine that is not installed here."""
    records = [
        vary(
            measured["ok"], engine="elsewhere", input_tokens=length, options={"page_tokens": 16 * length, "greed": True}
        )
        for length in (1, 2)
    ]
    rows = shown([*records, vary(measured["ok"])])
    text = render(documents.report(rows, "en", "qwen2.5"), "markdown")
    assert "### Qwen2.5-0.5B-Instruct (elsewhere)" in text
    assert "| page\\_tokens |" in text
    assert "greed: yes" in text
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [line["page_tokens"] for line in lines] == ["16", "32", ""]
    assert [row["greed"] for row in json.loads(to_json(rows))] == [True, True, None]


def test_the_batch_size_is_a_column_only_where_it_varies(measured: dict[str, Record]) -> None:
    alone = vary(measured["ok"])
    four = vary(record(batch_size=4))
    together = render(documents.report(shown([alone, four]), "en", "qwen2.5"), "markdown")
    assert "| Batch Size |" in together
    assert "batch size" not in together
    apart = render(documents.report(shown([four]), "en", "qwen2.5"), "markdown")
    assert "Batch Size" not in apart
    assert "; batch size 4\n" in apart
    line = next(csv.DictReader(io.StringIO(to_csv(shown([four])))))
    opinion = judged(four).judgement.summary
    assert opinion
    assert float(line["sequence_generation_tokens_per_s"]) == opinion.sequence_generation_tokens_per_s.mean
    assert float(line["time_to_last_first_token_s"]) == opinion.time_to_last_first_token_s.mean


@pytest.mark.parametrize("form", ["markdown", "rst", "text", "csv", "html"])
def test_a_simulated_record_says_that_no_figure_is_real(measured: dict[str, Record], form: Format) -> None:
    ok = measured["ok"]
    assert ok.loaded
    simulated = vary(ok.model_copy(update={"loaded": ok.loaded.model_copy(update={"simulated": True})}))
    assert "simulated: no figure is real" in render(documents.report(shown([simulated]), "en", "qwen2.5"), form)
    assert "simulated: no figure is real" not in render(documents.report(shown([vary(ok)]), "en", "qwen2.5"), "csv")


def test_memory_taken_in_advance_is_reported_by_need_whatever_the_engine_is_called(measured: dict[str, Record]) -> None:
    """It was told by a setting that one engine has: an engine without it was reported by its pool."""
    known = vary(measured["ok"], gpus=1, engine="elsewhere", memory_bytes=120 * GIB)
    assert known.loaded
    pool = {
        "preallocates": True,
        "kv_cache_allocated_bytes": 100 * GIB,
        "kv_cache_bytes_per_token": GIB // 86,
        "activation_peak_bytes": GIB,
        "weight_bytes": 14 * GIB,
    }
    ahead = known.model_copy(update={"loaded": known.loaded.model_copy(update=pool)})
    assert shown([known])[0].memory_bytes == 120 * GIB
    assert round(shown([ahead])[0].memory_bytes or 0) == 15 * GIB + 86 * (GIB // 86)


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
    changed = min(folder.glob("*.json"))
    changed.write_text(changed.read_text().replace("H100", "B200"))
    done = command("report", folder, "--format", "csv")
    assert done.returncode == 1
    assert done.stderr == f"damaged: {changed}: its content does not match its record_id\n"
    assert len(list(csv.reader(io.StringIO(done.stdout)))) == len(golden_records) - 1 + 1


def test_what_never_was_a_record_is_passed_over(
    golden_records: list[Record], stored: Callable[..., Path], command: Command
) -> None:
    """A report written beside the records made every later report end in 1."""
    folder = stored(golden_records)
    assert command("report", folder, "--format", "json", "--out", folder / "report.json").returncode == 0
    done = command("report", folder, "--format", "csv")
    assert done.returncode == 0
    assert done.stderr == f"passed over: {folder / 'report.json'}: it is no record\n"
    assert len(list(csv.reader(io.StringIO(done.stdout)))) == len(golden_records) + 1


def test_the_judgement_of_the_day_is_not_asked_for(
    golden_records: list[Record], stored: Callable[..., Path], command: Command
) -> None:
    """What another version thought of a record makes no difference to what is shown."""
    folder = stored(golden_records)
    plain = command("report", folder).stdout
    for file in folder.glob("*.json"):
        content = file.read_bytes()
        file.write_bytes(content[:-2] + b',"judgement":{"verdict":"valid","findings":[{"code":"of_old"}]}}\n')
    told = command("report", folder)
    assert (told.returncode, told.stdout, told.stderr) == (0, plain, "")
