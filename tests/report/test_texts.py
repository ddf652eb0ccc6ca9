"""Both languages say the same, nothing that is never said, and a Chinese report is Chinese throughout."""

import json
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from subprocess import CompletedProcess
from typing import get_args

import pytest

from speed_benchmark.cell import options
from speed_benchmark.engines import registry
from speed_benchmark.judge.judge import judged
from speed_benchmark.judge.judgement import QUANTITIES, Roofline, Severity, StepPart, Verdict
from speed_benchmark.record.machine import PACE_PARTS
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Agreement, Checkpoint, Record
from speed_benchmark.report import charts, documents
from speed_benchmark.report.columns import columns
from speed_benchmark.report.compare import Change, Measured, compare
from speed_benchmark.report.compare import measured as kept
from speed_benchmark.report.decision import Gate
from speed_benchmark.report.documents import ComparedRow, ReferenceRow
from speed_benchmark.report.explain import explain
from speed_benchmark.report.formats import render
from speed_benchmark.report.page import html
from speed_benchmark.report.rows import Row
from speed_benchmark.report.words import Format, words
from speed_benchmark.worker.events import Stage
from tests.report.made import CPU, record, shown, vary

Command = Callable[..., CompletedProcess[str]]
ENGLISH, CHINESE = words("en"), words("zh")
# Names, units and terms that Chinese takes over as they are, and what engines call things themselves.
NAMES = """
Qwen2 Instruct transformers Transformers vllm vLLM torch NVIDIA H100 80GB HBM3 EPYC BF16 FP16 GPTQ Int4 Int8 bfloat16
eager fake default tokens token OutOfMemoryError device full Xeon
"""
ALLOWED = set(NAMES.split())


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"{\w+}", text))


def test_both_languages_have_the_same_messages() -> None:
    assert list(ENGLISH) == list(CHINESE)
    for key, text in ENGLISH.items():
        assert placeholders(text) == placeholders(CHINESE[key]), key
        assert text, key
        assert CHINESE[key], key


def labels() -> Iterator[str]:
    for rows in (Row, ComparedRow, ReferenceRow):
        for column in columns(rows):
            if column.where and column.name != "options":
                yield column.label or column.name
            yield from filter(None, (column.said if column.said != "bare" else "", column.zero))
    for name in registry.names():
        yield from options(registry.settings_class(name))


def values() -> Iterator[str]:
    """Texts that are looked up by what a record says."""
    for prefix, names in (
        ("outcome", Outcome),
        ("verdict", Verdict),
        ("severity", Severity),
        ("change", Change),
        ("stage", (*get_args(Stage.model_fields["name"].annotation), "fetch", "idle")),
        ("bound_by", get_args(Roofline.model_fields["bound_by"].annotation)),
        ("step", get_args(StepPart)),
        ("doubtful_parts", QUANTITIES[1:]),
        ("prompt", ("repeated", "chat", "text", "random")),
        ("source", ("local", "synthetic")),
        ("published", ("qwen3",)),
        ("sampling", ("model", "greedy")),
        ("chart", charts.CHARTS),
        ("about", charts.CHARTS),
    ):
        yield from (f"{prefix}_{name}" if prefix in ("chart", "about") else f"{prefix}.{name}" for name in names)
    for kind in ("few", "dependent"):
        yield from (f"reason.{kind}_{what}" for what in ("repeats", "processes"))
    for kind in ("all", "each"):
        yield from (f"{kind}.{what}" for what in ("repeats", "processes"))
    yield from (f"reason.{where}_dependent" for where in ("above", "below"))
    yield from (f"pace.{part}" for part in PACE_PARTS)


def test_every_message_is_used_and_every_use_has_a_message() -> None:
    """By the columns, by what records say, or by name in a module of the room."""
    known = {*labels(), *values()}
    assert known - ENGLISH.keys() == set()
    room = files("speed_benchmark.report")
    sources = [Path(str(one)).read_text() for one in room.iterdir() if one.name.endswith((".py", ".js", ".jinja"))]
    source = "\n".join(sources)
    quoted = set(re.findall(r"""["']([a-z][\w.]*)["']""", source)) | set(re.findall(r"words\.(\w+)", source))
    reasons = {f"reason.{name}" for name in quoted}
    assert ENGLISH.keys() - known - quoted - reasons == set()


def foreign(text: str) -> list[str]:
    """The English words of a text, options of the command line aside."""
    text = re.sub(r"--\w+", "", text)
    return sorted({word for word in re.findall(r"[A-Za-z][A-Za-z0-9]{3,}", text) if word not in ALLOWED})


@pytest.mark.parametrize("form", ["markdown", "rst", "text"])
def test_a_chinese_report_is_chinese_throughout(golden_records: list[Record], form: Format) -> None:
    synthetic = vary(record(), checkpoint=Checkpoint(source="synthetic"), input_tokens=7)
    rows = shown([*golden_records, synthetic], "zh")
    assert foreign(render(documents.report(rows, "zh", "qwen2.5"), form)) == []
    assert foreign(render(documents.report(shown(golden_records), "zh", "qwen2.5"), form)) != []  # the test sees it


def test_a_chinese_page_shows_chinese_records(golden_records: list[Record]) -> None:
    page = html(documents.report(shown(golden_records, "zh"), "zh", "qwen2.5"))
    content = re.search(r'<script type="application/json" id="records">(.*?)</script>', page, re.DOTALL)
    assert content
    for row in json.loads(content[1]):
        for name in ("reasons", "notes", "note", "sampling", "machine"):
            assert foreign(json.dumps(row.get(name, ""), ensure_ascii=False)) == []


def chinese(records: list[Record]) -> list[Measured]:
    return [kept(judged(one), "generation_tokens_per_s", "zh") for one in records]


def test_a_chinese_comparison_is_chinese_throughout(measured: dict[str, Record]) -> None:
    old = [vary(measured["ok"], input_tokens=length) for length in (1, 2, 3, 4, 5)]
    other = vary(measured["ok"], input_tokens=2, machine=CPU.model_copy(update={"processor": "Xeon"}))
    few = vary(record(((0.1, 0.01),) * 2), input_tokens=3)
    slower = vary(measured["ok"], input_tokens=5, factor=1.25)
    new = [vary(measured["ok"], input_tokens=1), other, few, vary(measured["oom"], input_tokens=4), slower]
    compared = compare(chinese(old), chinese(new))
    document = documents.comparison(compared, "zh", "qwen2.5", Gate(0.03, Path("old"), Path("new")))
    text, commands = re.subn("speed-benchmark run .*", "", render(document, "markdown"))
    assert foreign(text) == []
    assert commands
    assert re.search(r"\d\.\d{3} 至 \d\.\d{3}", text)
    assert len({row.change for row in document.data}) == 4  # type: ignore[attr-defined]


def test_the_terminal_is_chinese_throughout(measured: dict[str, Record]) -> None:
    agreed = Agreement(engine="vllm", record_id="", compared=16, agreed=12)
    batch = record(batch_size=4, agreement=agreed, checkpoint=Checkpoint(source="synthetic"))
    for one in (*measured.values(), batch):
        lines = explain(judged(one), "zh")
        assert lines
        assert foreign(re.sub(r"\((\w+)\)：", "", "\n".join(lines))) == []  # the code of a finding is no word
