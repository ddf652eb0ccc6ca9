"""The published figures: as published, each by its report's definition of speed, and how near its cards' bandwidth."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from speed_benchmark.record.formats import FORMATS
from speed_benchmark.report import documents
from speed_benchmark.report.documents import ReferenceRow
from speed_benchmark.report.reference import Published, publication
from speed_benchmark.report.words import SpeedDefinition
from speed_benchmark.run.suite import combine, find
from tests.report.made import LOADED, record, shown, vary

REPORTS: dict[SpeedDefinition, tuple[int, int]] = {"qwen2.5": (259, 0), "qwen3": (216, 4)}
LENGTHS = {1, 6144, 14336, 30720, 63488, 129024}

Command = Callable[..., CompletedProcess[str]]


def row(report: SpeedDefinition, engine: str, model: str, length: int, quantization: str, gpus: int = 1) -> Published:
    found = publication(report).matching(engine, model, length, quantization, gpus)
    assert found is not None
    return found


@pytest.mark.parametrize("report", REPORTS)
def test_all_rows_are_there(report: SpeedDefinition) -> None:
    page = publication(report)
    count, without = REPORTS[report]
    assert (len(page.rows), sum(one.tokens_per_s is None for one in page.rows)) == (count, without)
    assert len(set(page.rows)) == count
    assert {one.context_length for one in page.rows} == LENGTHS
    assert {one.quantization for one in page.rows} <= FORMATS.keys()
    assert {one.engine for one in page.rows} == page.software.keys()


def test_the_qwen3_page_gives_whole_mebibytes_and_for_transformers_alone() -> None:
    rows = publication("qwen3").rows
    assert {one.engine for one in rows if one.memory_gib} == {"transformers"}
    sizes = [one.memory_gib * 1024 for one in rows if one.memory_gib]
    assert max(abs(size - round(size)) for size in sizes) < 0.1
    assert round(min(sizes)) == 986  # 0.6B in GPTQ-Int8, one token in


def test_a_row_without_a_figure_stands_beside_nothing() -> None:
    assert publication("qwen3").matching("transformers", "Qwen3-30B-A3B", 1, "GPTQ-Int4", 1) is None


@pytest.mark.parametrize("report", REPORTS)
def test_no_published_figure_is_faster_than_its_cards(report: SpeedDefinition) -> None:
    page = publication(report)
    shares = [page.bandwidth_share(one) for one in page.rows if one.tokens_per_s is not None]
    assert all(share is not None and 0 < share < 0.75 for share in shares)
    assert max(share for share in shares if share) > 0.4


def test_the_share_of_the_bandwidth_by_hand() -> None:
    """Qwen3-8B: 36 layers of 4096 wide, 12288 in the MLP, 32 heads and 8 of keys and values, 128 values each."""
    layer = 4096 * 4096 * 2 + 2 * 4096 * 1024 + 3 * 4096 * 12288 + 2 * 4096 + 2 * 128
    read = 2 * (36 * layer + 4096 + 151936 * 4096 + 4096)  # and of the embedding one row
    cache = 36 * 2 * 8 * 128 * 2
    page = publication("qwen3")
    for length, tokens_per_s in ((1, 81.73), (30720, 832.67)):
        found = row("qwen3", "vllm", "Qwen3-8B", length, "BF16")
        assert (found.engine, found.tokens_per_s) == ("sglang", tokens_per_s)
        steps_per_s = tokens_per_s * 2048 / (length + 2048)
        expected = (read + cache * (length + 1024)) * steps_per_s / 4e12
        assert page.bandwidth_share(found) == pytest.approx(expected, rel=1e-6)


def test_gpus_that_take_turns_are_one_at_a_time() -> None:
    """72.7 billion weights of two bytes, 8.73 times a second, at 2039 GB/s: on two GPUs that compute in turn."""
    found = row("qwen2.5", "transformers", "Qwen2.5-72B-Instruct", 1, "BF16", 2)
    assert publication("qwen2.5").bandwidth_share(found) == pytest.approx(72.7e9 * 2 * 8.73 / 2039e9, rel=0.03)
    split = row("qwen2.5", "vllm", "Qwen2.5-72B-Instruct", 1, "BF16", 2)
    assert publication("qwen2.5").bandwidth_share(split) == pytest.approx(72.7e9 * 2 * 18.19 / 2 / 2039e9, rel=0.03)


def test_figures_of_qwen3_stand_in_columns_of_their_own(stored: Callable[..., Path], command: Command) -> None:
    loaded = LOADED.model_copy(update={"weight_bytes": 16_400_000_000})
    own = vary(record(tokens=2048, loaded=loaded), model="Qwen/Qwen3-8B", engine="vllm", gpus=1, input_tokens=6144)
    other = vary(record(tokens=2048), engine="vllm", gpus=1, input_tokens=6144)
    document = documents.reference(shown([own, other]), publication("qwen3"), "en")
    (data,) = document.data
    assert isinstance(data, ReferenceRow)
    published = row("qwen3", "vllm", "Qwen3-8B", 6144, "BF16")
    total = shown([own])[0].total_tokens_per_s
    assert total is not None
    assert (data.total_tokens_per_s, data.published_total_tokens_per_s) == (total, published.tokens_per_s)
    assert (data.generation_tokens_per_s, data.published_tokens_per_s) == (None, None)
    assert data.ratio == pytest.approx(total / published.tokens_per_s)  # type: ignore[operator]
    assert data.published_mbu == publication("qwen3").bandwidth_share(published)
    (table,) = document.tables
    assert table.title == "Qwen3-8B (vLLM) beside another engine, SGLang"
    assert "SGLang 0.4.6.post1" in table.conditions
    earlier = documents.reference(shown([own, other]), publication("qwen2.5"), "en").tables[0]
    speeds = {name for name in table.columns if "tokens/s" in name}
    assert len(speeds) == 2
    assert speeds.isdisjoint(earlier.columns)
    assert "129042" in " ".join(document.intro)
    done = command("reference", stored([own, other]), "--report", "qwen3", "--format", "json")
    (written,) = json.loads(done.stdout)
    assert (written["published_engine"], written["published_total_tokens_per_s"]) == ("sglang", published.tokens_per_s)


def test_the_suite_measures_what_was_published() -> None:
    """Each cell with the engine that stands beside the published one."""
    points = list(combine(find("qwen3.toml"), {}).points())
    page = publication("qwen3")
    measured = {
        (page.stand_ins.get(one["engine"], one["engine"]), one["model_id_or_path"], int(one["context_length"]))
        for one in points
    }
    suffixes = {name: next(iter(one.suffixes), "") for name, one in FORMATS.items()}
    published = {
        (one.engine, f"Qwen/{one.model}{suffixes[one.quantization]}", one.context_length)
        for one in page.rows
        if one.tokens_per_s is not None
    }
    assert measured == published
    assert len(points) == len(measured)
