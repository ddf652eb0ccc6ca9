"""Does a model fit: without PyTorch the same as by the shapes that transformers tells, and as fast as was measured."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from speed_benchmark.errors import UserError
from speed_benchmark.judge.judge import judged
from speed_benchmark.machine import nvml
from speed_benchmark.machine.cards import named
from speed_benchmark.models.published import lookup
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes.asked import shapes
from speed_benchmark.record.folder import read, record_files
from speed_benchmark.report.fits import show_fits
from speed_benchmark.report.words import words
from speed_benchmark.run.fits import Offer, fits
from speed_benchmark.run.suite import DEPTH_TOKENS
from tests import core
from tests.machine.fake_pynvml import FakeNvml, memory
from tests.report.test_texts import foreign
from tests.shapes import TINY

RESULTS = Path(__file__).parents[2] / "results"
QWEN = "Qwen/Qwen2.5-7B-Instruct"
# Dense, mixtures of experts, sliding windows, linear attention, latent attention; plain and quantised.
TEN = (
    QWEN,
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "google/gemma-3-27b-it",
    "microsoft/phi-4",
    "openai/gpt-oss-120b",
    "deepseek-ai/DeepSeek-V3",
)
CONTEXT = 2000
ASK = f"""
import sys
from importlib.util import find_spec
from speed_benchmark.cli import main

assert not [name for name in ("torch", "transformers", "vllm", "huggingface_hub", "modelscope") if find_spec(name)]
for model in sys.argv[1:]:
    sys.argv = ["", "fits", model, "--gpu", "H100", "--context_length", "{CONTEXT}", "--format", "json"]
    assert main() == 0
    print("\\0")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment of the core alone."""
    return core.environment(tmp_path_factory.mktemp("core"))


@pytest.mark.slow
def test_ten_models_without_torch(python: Path) -> None:
    asked = subprocess.run([python, "-c", ASK, *TEN], capture_output=True, text=True, timeout=120, check=True)
    answers = [json.loads(text) for text in asked.stdout.split("\0\n")[:-1]]
    assert [rows[0]["model"] for rows in answers] == list(TEN)
    rows = {row["model"]: row for answer in answers for row in answer}
    assert rows.keys() >= {*TEN, f"{QWEN}-GPTQ-Int4", "Qwen/Qwen3-8B-FP8", "Qwen/Qwen3-30B-A3B-GPTQ-Int4"}
    configs = [known.config for name in rows if (known := lookup(name))]
    for row, shape in zip(rows.values(), shapes(configs, anew=True), strict=True):
        assert isinstance(shape, Shape), row["model"]
        assert row["weight_bytes"] == shape.weight_bytes(), row["model"]
        assert row["kv_cache_bytes"] == shape.kv_cache_bytes(CONTEXT + DEPTH_TOKENS, 2), row["model"]
        assert row["weight_bytes"] + row["kv_cache_bytes"] < row["needed_bytes"], row["model"]


@pytest.mark.slow
def test_a_folder_needs_transformers(python: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY | {"num_hidden_layers": 3}))
    asked = subprocess.run(
        [python, "-m", "speed_benchmark", "fits", tmp_path, "--gpu", "T4"], capture_output=True, text=True, check=False
    )
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr == f"error: MODEL {tmp_path}: has a shape that only transformers knows: install it\n"


@pytest.mark.slow
def test_a_folder(tmp_path: Path) -> None:
    config = TINY | {"num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (shape,) = shapes([config])
    answer = fits(str(tmp_path), named("8GiB"))
    assert answer.shape == shape
    assert {offer.need.weight_bytes for offer in answer.offers} == {answer.shape.weight_bytes()}
    assert {offer.gpus for offer in answer.offers} == {1}


def of(model: str, gpu: str, engine: str = "vLLM", context: int | None = None) -> Offer:
    return next(one for one in fits(model, named(gpu), context).offers if one.engine == engine)


@pytest.mark.parametrize(
    ("model", "gpu", "gpus"),
    [
        (QWEN, "H100", 1),
        (QWEN, "4090", 1),
        (QWEN, "8GiB", 4),  # 14.2 GiB of weights; its 28 heads are not split over 3
        ("meta-llama/Llama-3.3-70B-Instruct", "H200", 2),  # 131 GiB of weights are more than 0.9 of 140.4
        ("meta-llama/Llama-3.3-70B-Instruct", "B200", 1),
        ("deepseek-ai/DeepSeek-V3", "H200", 8),  # as its makers say
        ("openai/gpt-oss-120b", "H100", 1),  # as its makers say
        ("openai/gpt-oss-20b", "16GiB", 1),  # as its makers say
    ],
)
def test_on_how_many_gpus(model: str, gpu: str, gpus: int) -> None:
    assert of(model, gpu).gpus == gpus


def test_on_the_gpus_of_this_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two are there, and more may be needed."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    there = FakeNvml(
        Count=2,
        Name="NVIDIA L4",
        MemoryInfo=memory(0, 23034 * 2**20),
        MaxClockInfo=lambda _gpu, _clock: 6251,
        MemoryBusWidth=192,
    )
    monkeypatch.setattr(nvml, "pynvml", there)
    monkeypatch.setattr(nvml, "_ready", lambda: True)
    assert show_fits("Qwen/Qwen3-32B", None, None, "json", "en") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["gpu_count"] > 2
    assert show_fits("Qwen/Qwen3-32B", None, None, "text", "en") == 0
    assert "One NVIDIA L4 has 22.5 GiB of memory at 300 GB/s." in capsys.readouterr().out


def test_what_fits_on_no_number_of_gpus() -> None:
    offer = of("deepseek-ai/DeepSeek-V3", "1GiB")
    assert (offer.gpus, offer.decode_tokens_per_s) == (None, None)


def test_on_a_processor() -> None:
    on = replace(named("32GiB"), gpus=0)
    offers = {one.model_id: one.gpus for one in fits("Qwen/Qwen2.5-14B-Instruct", on).offers if one.engine == "vLLM"}
    assert offers["Qwen/Qwen2.5-14B-Instruct"] == 0
    assert of("Qwen/Qwen2.5-14B-Instruct", "32GiB").gpus == 2
    assert {one.gpus for one in fits("Qwen/Qwen2.5-72B-Instruct", on).offers if "AWQ" not in one.format} == {None}


def test_more_context_needs_more_and_is_slower() -> None:
    short, long = of(QWEN, "H100", context=1000), of(QWEN, "H100", context=30_000)
    assert long.need.kv_cache_bytes - short.need.kv_cache_bytes == 29_000 * 2 * 28 * 4 * 128 * 2
    assert short.decode_tokens_per_s
    assert long.decode_tokens_per_s
    assert short.decode_tokens_per_s.middle > long.decode_tokens_per_s.middle
    assert short.first_token_s
    assert long.first_token_s
    assert short.first_token_s.middle < long.first_token_s.middle


def measured() -> Iterator[tuple[str, Offer, float]]:
    """Name, offer and decode speed of each record whose settings are those that `fits` takes."""
    for file in record_files(RESULTS):
        record = read(file)
        cell, summary = record.cell, judged(record).judgement.summary
        usual = cell.settings.options.get("attn_implementation") != "eager" and not cell.settings.options.get("compile")
        if not usual or cell.protocol.quick or cell.workload.batch_size > 1 or not summary:
            continue
        engine = {"vllm": "vLLM"}.get(cell.settings.engine, "Transformers")
        card = "H100" if "H100" in record.machine.gpus[0].name else "H200"
        offer = of(cell.model.model_id_or_path, card, engine, cell.workload.context_length)
        assert summary.decode_tokens_per_s
        yield file.name, offer, summary.decode_tokens_per_s.mean


@pytest.mark.slow
def test_the_ranges_hold_what_was_measured() -> None:
    """In 8 of 10 cases, as they say; the priors were fitted to these records, the bandwidths are of data sheets."""
    inside = {
        name: bool(r) and r.low <= speed <= r.high for name, o, speed in measured() if (r := o.decode_tokens_per_s)
    }
    assert len(inside) > 20
    assert sum(inside.values()) >= 0.8 * len(inside), inside


@pytest.mark.parametrize(("name", "near"), [("Qwen/Qwen3-8", "Qwen/Qwen3-8B"), ("phi-5", "microsoft/phi-4")])
def test_an_unknown_model_is_refused_with_near_names(name: str, near: str) -> None:
    with pytest.raises(UserError, match=near):
        fits(name, named("H100"))


def test_a_context_that_the_model_does_not_take_is_refused() -> None:
    with pytest.raises(UserError, match=r"--context_length 131072: .* this model reaches 131072"):
        fits("Qwen/Qwen3-8B", named("H100"), 131072)


def test_a_bare_name_and_a_format_of_its_own() -> None:
    assert [one.model_id for one in fits("phi-4", named("H100")).offers] == ["phi-4", "phi-4"]
    only = {one.model_id for one in fits(f"{QWEN}-AWQ", named("H100")).offers}
    assert only == {f"{QWEN}-AWQ"}
    formats = list(dict.fromkeys(one.format for one in fits(QWEN, named("H100")).offers))
    assert formats == ["BF16", "GPTQ-Int8", "GPTQ-Int4", "AWQ"]


@pytest.mark.parametrize(
    ("model", "gpu", "said"),
    [
        ("Qwen/Qwen3-8B", "H100", {"fits.sheet"}),
        ("Qwen/Qwen3-8B", "8GiB", {"fits.no_speed"}),
        ("Qwen/Qwen3-32B", "4090", {"fits.sheet", "fits.less_sure"}),
        ("Qwen/Qwen3-30B-A3B", "H100", {"fits.sheet", "fits.less_sure"}),
        ("Qwen/Qwen3-30B-A3B", "24GiB", {"fits.no_speed"}),
    ],
)
def test_it_says_how_sure_the_speeds_are(
    model: str, gpu: str, said: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert show_fits(model, gpu, None, "markdown", "en") == 0
    shown, known = capsys.readouterr().out, words("en")
    assert {name for name in ("fits.sheet", "fits.no_speed", "fits.less_sure") if known[name] in shown} == said


@pytest.mark.parametrize("gpu", ["H100", "24GiB", None])
def test_it_is_chinese_throughout(gpu: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_fits("Qwen/Qwen3-30B-A3B", gpu, None, "markdown", "zh") == 0
    said = capsys.readouterr().out
    assert "30.5B" in said
    assert "3.04B" in said
    names = ("Qwen", "Transformers", "vLLM", "speed-benchmark machine", "GPTQ", "Int4", "H100")
    for name in names:
        said = said.replace(name, "")
    assert foreign(said) == []
