"""The page in a real browser: it asks nothing, filters, sorts, leads to records, and runs nothing of a record."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from playwright.sync_api import Browser, Page

from speed_benchmark.record.outcome import Cause
from speed_benchmark.record.record import Record
from speed_benchmark.report import documents
from speed_benchmark.report.page import html
from speed_benchmark.report.reference import publication
from speed_benchmark.report.rows import shown_columns
from speed_benchmark.report.words import Language, words
from tests.report.made import shown, vary

pytestmark = pytest.mark.slow

Command = Callable[..., CompletedProcess[str]]
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Callable[..., tuple[Page, list[str]]]:
    """Opens a page; gives it and what it said on the console, raised or asked of the network."""

    def show(content: str, **context: object) -> tuple[Page, list[str]]:
        file = tmp_path / "report.html"
        file.write_text(content)
        page = browser.new_context(**context).new_page()  # type: ignore[arg-type]
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"raised: {error}"))
        page.on("request", lambda request: wrong.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-drawn]", timeout=10_000)
        return page, wrong

    return show


@pytest.fixture(scope="session")
def content(golden_records: list[Record], measured: dict[str, Record]) -> str:
    other = vary(measured["ok"], model="Qwen/Qwen2.5-7B-Instruct", gpus=1, factor=4.0)
    return html(documents.report(shown([*golden_records, other]), "en", "qwen2.5"))


def visible(page: Page, selector: str) -> int:
    return page.locator(f"{selector}:visible").count()


def test_it_loads_in_silence_and_draws_every_chart(content: str, opened: Callable[..., tuple[Page, list[str]]]) -> None:
    page, wrong = opened(content)
    assert wrong == []
    assert page.locator(".view").count() >= 8  # speed, memory, first token, repeats, gaps: two models where known
    assert page.locator(".view svg").count() == page.locator(".view").count()
    assert page.locator("#raw tbody tr").count() == 22
    assert page.locator("output.count").inner_text() == "22 records shown"
    first = page.locator("#raw tbody tr").first.locator("td").all_inner_texts()
    assert first[:6] == ["Qwen2.5-0.5B-Instruct", "transformers", "1", "80", "BF16", "1"]


TOLD = "dialog => [...dialog.querySelectorAll('dt')].map((name) => [name.innerText, name.nextSibling.innerText])"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_script_shows_every_column_as_the_tables_do(
    golden_records: list[Record], opened: Callable[..., tuple[Page, list[str]]], language: Language
) -> None:
    """The columns come to the page as data: what `columns.py` says of a row is what its dialog shows."""
    # figures between two last digits are rounded up by one and to the even digit by the other
    rows = shown(golden_records, language)
    rows = [row.model_copy(update={"memory_bytes": 10**9, "device_used_bytes": 2 * 10**9}) for row in rows]
    said = words(language)
    page, _ = opened(html(documents.report(rows, language, "qwen2.5")))
    for row in (rows[0], rows[-1]):
        page.evaluate("id => document.querySelector(`tr[data-record='${id}']`).click()", row.record_id)
        here = [column for column in shown_columns(rows) if "details" in column.where]
        texts = [[column.heading(said), column.text(row.values, said)] for column in here]
        assert page.locator("dialog[open]").evaluate(TOLD) == [[name, text] for name, text in texts if text]
        page.locator("dialog button").click()


@pytest.mark.parametrize("context", [{"color_scheme": "dark"}, {"viewport": PHONE, "has_touch": True}])
def test_it_is_readable_in_the_dark_and_on_a_phone(
    content: str, opened: Callable[..., tuple[Page, list[str]]], context: dict[str, object]
) -> None:
    page, wrong = opened(content, **context)
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    contrast = page.evaluate(
        """() => {
          const light = (colour) => {
            const parts = colour.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255);
            const [r, g, b] = parts.map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const paper = light(getComputedStyle(document.body).backgroundColor);
          const seen = [...document.querySelectorAll("h1, .soft, td, th, .view svg text, .swatch")].map((element) => {
            const style = getComputedStyle(element);
            const ink = element.matches("text") ? style.fill
              : element.matches(".swatch") ? style.backgroundColor : style.color;
            const [high, low] = [light(ink), paper].sort((a, b) => b - a);
            return (high + 0.05) / (low + 0.05);
          });
          return Math.min(...seen);
        }"""
    )
    assert contrast >= 4.5  # WCAG 2.2, level AA, for text


def test_filters_apply_to_charts_tables_and_records(
    content: str, opened: Callable[..., tuple[Page, list[str]]]
) -> None:
    page, wrong = opened(content)
    assert visible(page, "section.layout") == 3
    page.select_option("select[name=engine]", "vllm")
    assert page.locator("#raw tbody tr").count() == 9
    assert visible(page, "section.layout") == 1
    page.select_option("select[name=quantization]", "AWQ")
    assert page.locator("#raw tbody tr").count() == 3
    assert visible(page, "section.layout tbody tr") == 3
    page.wait_for_selector("html[data-drawn]")
    marks = page.locator("#charts-speed .mark-symbol path")
    assert marks.count() == 3
    page.select_option("select[name=model]", "Qwen2.5-7B-Instruct")
    assert page.locator("#raw tbody tr td").all_inner_texts() == ["No record matches these filters."]
    assert wrong == []


def test_the_raw_table_sorts_by_value(content: str, opened: Callable[..., tuple[Page, list[str]]]) -> None:
    page, _ = opened(content)
    heads = page.locator("#raw thead th").all_inner_texts()
    speed = next(index for index, name in enumerate(heads) if name.startswith("Speed (tokens/s)"))
    button = page.locator("#raw thead button").nth(speed)
    for sign, state in ((1, "ascending"), (-1, "descending")):
        button.click()
        assert page.locator("#raw thead th").nth(speed).get_attribute("aria-sort") == state
        texts = page.locator(f"#raw tbody td:nth-child({speed + 1})").all_inner_texts()
        figures = [float(text) for text in texts if text]
        assert figures == sorted(figures, reverse=sign < 0)
        assert not any(texts[len(figures) :])  # those without a speed come last, whichever way
    assert len(figures) == 21


def test_a_number_leads_to_its_record(
    content: str, golden_records: list[Record], opened: Callable[..., tuple[Page, list[str]]]
) -> None:
    page, _ = opened(content)
    ids = {record.record_id for record in golden_records}
    link = page.locator("section.layout td a").first
    leads_to = link.get_attribute("data-record")
    link.click()
    text = page.locator("dialog[open]").inner_text()
    assert leads_to in ids
    assert leads_to
    assert leads_to in text
    assert page.locator("dialog").evaluate("dialog => dialog.scrollTop") == 0, "it opens at its beginning"
    assert link.inner_text() in text
    page.locator("dialog button").click()
    assert page.locator("dialog[open]").count() == 0
    point = page.locator("#charts-speed .mark-symbol path").first
    point.hover()
    tip = page.locator("#tip").inner_text()
    assert "Input Length: 1\n" in tip
    short = re.search(r"[0-9a-f]{12}", tip)
    assert short
    assert any(short[0] in record_id for record_id in ids)
    point.click()
    assert short[0] in page.locator("dialog[open]").inner_text()


def test_it_prints_light_and_whole(content: str, opened: Callable[..., tuple[Page, list[str]]]) -> None:
    page, _ = opened(content, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert visible(page, ".filters") == 0
    assert visible(page, "section.layout") == 3
    assert len(page.pdf()) > 10_000
    page.set_viewport_size({"width": 1032, "height": 730})  # what a sheet of A4 has within its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 1032


HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked=1'>",
    "\u2028'\"`${window.hacked=1}",
    '=HYPERLINK("http://example.org")',
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_record_runs(
    measured: dict[str, Record], opened: Callable[..., tuple[Page, list[str]]], text: str
) -> None:
    ok, oom = measured["ok"], measured["oom"]
    assert ok.loaded
    loaded = ok.loaded.model_copy(
        update={"attention_implementation": text, "quantization": text, "execution": text, "reasons": (text,)}
    )
    machine = vary(ok).machine.model_copy(update={"processor": text, "driver": text})
    records = [
        vary(ok, model=f"Qwen/{text}", loaded=loaded, machine=machine, prompt=text),
        vary(ok, engine=text, machine=machine),
        vary(oom, cause=Cause(message=text, stage=text)),
    ]
    page, wrong = opened(html(documents.report(shown(records), "en", "qwen2.5")))
    assert wrong == []
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 5
    assert page.locator("img").count() == 0
    page.locator("#raw tbody tr").first.click()
    assert page.locator("dialog[open]").count() == 1
    assert page.evaluate("window.hacked") is None
    models = page.locator("select[name=model] option").all_inner_texts()
    assert len(models) == 3


def test_roofline_and_energy_are_drawn_where_they_are_known(
    measured: dict[str, Record], opened: Callable[..., tuple[Page, list[str]]]
) -> None:
    known = shown([vary(measured["ok"], gpus=1, input_tokens=length) for length in (1, 6144)])
    known = [row.model_copy(update={"mbu": 0.625, "per_generated_token_joules": 1.25}) for row in known]
    page, wrong = opened(html(documents.report(known, "en", "qwen2.5")))
    assert wrong == []
    assert page.locator("#charts-roofline .mark-symbol path").count() == 2
    assert page.locator("#charts-energy .mark-symbol path").count() == 2
    page.locator("#raw tbody tr").first.click()
    text = page.locator("dialog[open]").inner_text()
    assert "MBU, decoding (%)\n62.5" in text
    assert "Energy per token (J)\n1.25" in text


def test_the_page_says_what_may_run(content: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', content)
    assert policy
    assert "default-src &#39;none&#39;" in policy[1] or "default-src 'none'" in policy[1]
    assert "unsafe-eval" not in policy[1]
    assert not re.search(r"script-src[^;]*unsafe-inline", policy[1])
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", content, flags=re.DOTALL)
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=|@import|url\(", markup)


def test_chinese_page(golden_records: list[Record], opened: Callable[..., tuple[Page, list[str]]]) -> None:
    page, wrong = opened(html(documents.report(shown(golden_records, "zh"), "zh", "qwen3")))
    assert wrong == []
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert "Qwen3 的定义" in page.locator("header").inner_text()
    assert "undefined" not in page.locator("body").inner_text()


def test_reference_draws_both(
    measured: dict[str, Record],
    stored: Callable[..., Path],
    command: Command,
    opened: Callable[..., tuple[Page, list[str]]],
) -> None:
    asked = replace(publication("qwen2.5"), generate_length=80)
    records = [
        vary(measured["ok"], gpus=1, input_tokens=length, engine=engine)
        for length in (1, 6144)
        for engine in ("transformers", "vllm")
    ]
    document = documents.reference(shown(records), asked, "en")
    assert [row.published_tokens_per_s for row in document.data] == [47.40, 47.45, 311.55, 304.79]  # type: ignore[attr-defined]
    assert all(row.ratio == row.generation_tokens_per_s / row.published_tokens_per_s for row in document.data)  # type: ignore[attr-defined]
    page, wrong = opened(html(document))
    assert wrong == []
    assert page.locator("#charts-speed .mark-symbol path").count() == 8
    text = page.locator("body").inner_text()
    for named in ("NVIDIA H100 80GB HBM3", "NVIDIA A100 80GB, CUDA 12.1", "vLLM 0.6.3", "vllm 0.32.0"):
        assert named in text
    done = command("reference", stored([vary(measured["ok"], gpus=1, input_tokens=1)]))
    assert done.returncode == 2  # 80 tokens were generated, not 2048
    assert "no cell in common" in done.stderr
