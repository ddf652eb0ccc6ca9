"""Whatever the texts of a record are, in every format they are text and nothing else."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree

import docutils.core
import docutils.nodes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from speed_benchmark.judge.judge import judged
from speed_benchmark.record.folder import read
from speed_benchmark.record.format import serialize
from speed_benchmark.report import documents
from speed_benchmark.report.compare import compare
from speed_benchmark.report.compare import measured as kept
from speed_benchmark.report.decision import Gate
from speed_benchmark.report.documents import Document
from speed_benchmark.report.exports import as_json
from speed_benchmark.report.formats import render
from speed_benchmark.report.layout import Line, Table
from speed_benchmark.report.markup import markdown, rst
from speed_benchmark.report.page import html
from speed_benchmark.report.plan_table import print_plan
from speed_benchmark.report.plots import draw
from speed_benchmark.report.reference import publication
from speed_benchmark.report.samples import write_jsonl
from speed_benchmark.report.soundness import print_verified
from speed_benchmark.report.tables import print_document, print_run
from speed_benchmark.run.observer import NullObserver
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.progress import Display
from speed_benchmark.run.resume import Survey
from speed_benchmark.run.stored import of_judged
from speed_benchmark.terminal import one_line, printable
from speed_benchmark.worker.events import Stage
from tests.report.made import shown
from tests.report.marred import TEXTS, marred

Command = Callable[..., CompletedProcess[str]]
STEERING, *_, MARKUP = TEXTS
# Of a table of reStructuredText and of Markdown: what else there is was made of a text.
RST = {
    *("document", "section", "title", "paragraph", "Text", "table", "tgroup", "colspec", "thead", "tbody", "row"),
    *("entry", "bullet_list", "list_item"),
}
MARKDOWN = {
    *("heading", "paragraph", "inline", "text", "text_special", "bullet_list", "list_item"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def document_of(text: str) -> Document:
    """A document that has `text` at each place."""
    lines = tuple(Line(cells, "") for cells in ((text, text), (text, "x")))
    laid = Table(text, text, (text, text), (False, True), lines, notes=(text, text), spanned=1)
    return Document("en", "qwen2.5", f"Title {text}", (text,), (laid,), ())


def documents_of(text: str) -> Iterator[Document]:
    """A report and a comparison of records with `text`."""
    records = marred(text)
    yield documents.report(shown(records), "en", "qwen2.5")
    sides = [kept(judged(one)) for one in records]
    yield documents.comparison(compare([sides[0]], sides), "en", "qwen2.5", Gate(0.03, Path("old"), Path("new")))


def nodes(text: str) -> set[str]:
    """The kinds of nodes that docutils makes of reStructuredText, with all that it can be allowed."""
    allowed = {"file_insertion_enabled": True, "raw_enabled": True, "report_level": 2, "warning_stream": False}
    tree = docutils.core.publish_doctree(text, settings_overrides=allowed)
    return {type(node).__name__ for node in tree.findall()}


def kinds(text: str) -> set[str]:
    """The kinds of tokens that a reader of Markdown makes."""

    def of(tokens: list[Token]) -> Iterator[str]:
        for token in tokens:
            yield re.sub("_(open|close)$", "", token.type)
            yield from of(token.children or [])

    return set(of(MarkdownIt("commonmark").enable("table").parse(text)))


def paragraphs(text: str) -> set[str]:
    tree = docutils.core.publish_doctree(text)
    return {node.astext() for node in tree.findall(docutils.nodes.paragraph)}


def raw(text: str) -> set[str]:
    """The characters of `text` that a terminal may obey."""
    return {character for character in text if not character.isprintable()} - {"\n"}


@pytest.mark.attack("2.6", "2.7")
@pytest.mark.parametrize("text", TEXTS)
def test_markup_holds_nothing_but_text(text: str) -> None:
    for document in (*documents_of(text), document_of(text)):
        assert nodes(rst(document)) <= RST
        assert kinds(markdown(document)) <= MARKDOWN
        assert raw(rst(document)) | raw(markdown(document)) == set()
    assert paragraphs(rst(document_of(text))) == {one_line(text), "x"}


@pytest.mark.slow
@pytest.mark.attack("2.6")
@settings(max_examples=300, deadline=None)
@given(st.text(".:-+*=|_`\\<>[]()#@~^'\"/&$!? ab1iv中\u0301\u200d•“–", min_size=1).filter(one_line))
def test_no_text_is_markup(text: str) -> None:
    document = document_of(text)
    assert nodes(rst(document)) <= RST
    assert paragraphs(rst(document)) == {one_line(text), "x"}
    assert kinds(markdown(document)) <= MARKDOWN


@pytest.mark.attack("2.6")
def test_no_file_is_included(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the content of a file")
    for document in documents_of(f".. include:: {secret}"):
        assert "the content of a file" not in docutils.core.publish_string(rst(document), writer="pseudoxml").decode()


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], list[Path]]:
    """Writes the records of a text to files whose names have it too."""

    def write(text: str) -> list[Path]:
        made = [(tmp_path / f"{number}{text.replace('/', '')}.json", one) for number, one in enumerate(marred(text))]
        for path, one in made:
            path.write_bytes(serialize(one, judged(one).judgement.model_dump(mode="json") | {"verdict": text}))
        return [path for path, _ in made]

    return write


@pytest.mark.attack("2.7")
@pytest.mark.parametrize("text", [STEERING, MARKUP])
def test_a_terminal_is_shown_text_alone(
    text: str,
    files: Callable[[str], list[Path]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20000")
    for document in (*documents_of(text), document_of(text)):
        print_document(document)
    paths = files(text)
    stored = [of_judged(judged(read(path)), path, is_new=False) for path in paths]
    for some in (stored[:1], stored[1:], stored):
        print_run(some)
    assert print_verified(paths) == 0
    display = Display()
    for one in marred(text):
        display.happened(one.cell, Stage(name="load", cell=0))
        display.stored(judged(one), paths[0])
        display.said(text)
        display.fetching(text, 1, 2)
        NullObserver().said(text)
    print_plan([LoadGroup(cells=(one.cell,), gpus=()) for one in marred(text)], Survey((), {text: 2}, None), 1)
    out, err = capsys.readouterr()
    assert raw(out) | raw(err) == set()
    assert printable(text) in out
    assert printable(text) in err
    assert [line for line in (out + err).splitlines() if line.lstrip().startswith("forged")] == []


@pytest.mark.attack("2.7")
def test_a_live_display_is_shown_text_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Display() as display:
        display.planned(3, 0)
        for one in marred(STEERING):
            display.stored(judged(one), Path(STEERING))
            display.happened(one.cell, Stage(name="load", cell=0))
            display.said(STEERING)
    err = capsys.readouterr().err
    assert "owned" in err
    own = re.compile(r"\x1b\[(\d+m|[\d;]*[mKA]|\?25[lh])|\r")  # colours, and what draws the block anew
    assert raw(own.sub("", err)) == set()
    assert "\x1b[2J" not in err


@pytest.mark.attack("2.7", "2.15")
@pytest.mark.parametrize("text", TEXTS)
def test_a_csv_file_holds_no_formula(text: str) -> None:
    for document in documents_of(text):
        lines = list(csv.reader(io.StringIO(render(document, "csv"))))
        assert {len(line) for line in lines} == {len(lines[0])}
        cells = [cell for line in lines for cell in line]
        assert raw("".join(cells)) == set()
        assert [cell for cell in cells if cell.lstrip().startswith(FORMULAS) and not is_number(cell)] == []


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", TEXTS)
def test_data_for_programs_are_unchanged(text: str) -> None:
    records = marred(text)
    document = documents.report(shown(records), "en", "qwen2.5")
    content = render(document, "json")
    assert raw(content) == set()
    assert all(row["attention_implementation"] == text for row in json.loads(content) if row["outcome"] == "ok")
    file = io.BytesIO()
    write_jsonl(records, file)
    lines = file.getvalue().decode().splitlines()
    assert {json.loads(line)["software"] for line in lines} == {shown(records)[0].software}
    assert raw("".join(lines)) == set()


def test_json_escapes_only_what_is_not_seen() -> None:
    for text in ("速度 ± µ", "\u202e\x9b\U000e0001\udcff", '\x1b\n"\\'):
        assert json.loads(as_json([text])) == [text]
    assert as_json({"速": "\x9b"}) == '{"速": "\\u009b"}'


class Elements(HTMLParser):
    """The elements of a page, with the names of their attributes."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.found: set[tuple[str, ...]] = set()
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add((tag, *(name for name, _ in attrs)))


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_a_page_holds_no_element_of_a_record(text: str) -> None:
    plain, other = (html(documents.report(shown(marred(one)), "en", "qwen2.5")) for one in ("x", text))
    assert Elements(other).found == Elements(plain).found
    assert other.count("</script>") == plain.count("</script>")


@pytest.mark.slow
@pytest.mark.parametrize("text", [STEERING, TEXTS[9], "\0"])
def test_plots_are_files_of_their_kind(text: str, tmp_path: Path) -> None:
    draw(documents.report(shown(marred(text)), "en", "qwen2.5"), tmp_path)
    drawn = list(tmp_path.glob("*.svg"))
    assert drawn
    for file in drawn:
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(file).iter()}  # noqa: S314 - our own
        assert tags <= {"svg", "g", "path", "text", "rect", "line", "defs", "clipPath", "tspan", "title"}


@pytest.mark.attack("2.6", "2.7")
@pytest.mark.parametrize("text", TEXTS)
def test_published_figures_stand_beside_text_alone(text: str) -> None:
    asked = replace(publication("qwen2.5"), generate_length=80)
    record = marred(text, keep=("model_id_or_path", "engine", "quantization"))[0]
    document = documents.reference(shown([record]), asked, "en")
    assert document.data
    assert nodes(rst(document)) <= RST
    assert kinds(markdown(document)) <= MARKDOWN
    assert raw(render(document, "text")) | raw(rst(document)) | raw(markdown(document)) == set()


@pytest.mark.slow
@pytest.mark.attack("2.7")
def test_commands_name_files_as_text_alone(files: Callable[[str], list[Path]], command: Command) -> None:
    good, bad = files(STEERING)
    bad.write_bytes(bad.read_bytes().replace(b"Linux", b"Minix").replace(b"owned", b"ownee"))
    folder = good.parent
    (folder / f"other{STEERING}.json").write_text("{}")
    for arguments in (
        ("report", folder),
        ("report", folder, "--format", "csv"),
        ("verify", folder),
        ("gate", folder, "--baseline", folder),
        ("verify", f"{folder}{STEERING}"),
        ("run", "--engine", STEERING, "--model_id_or_path", STEERING, "--context_length", STEERING),
        ("run", STEERING),
        (STEERING,),
    ):
        done = command(*arguments)
        assert raw(done.stdout) | raw(done.stderr) == set(), arguments
        assert "Traceback" not in done.stderr
        assert "owne" in done.stderr + done.stdout
