"""Configs as data, against the sizes of the weights as published."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.models import checkpoint
from speed_benchmark.models.published import lookup, near, published
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes import shipped
from speed_benchmark.models.shapes.asked import ShapeError, shapes

MODELS = published()
NAMED = {name: model for name, model in MODELS.items() if "quantization_config" not in model.config or model.total_size}

SIZES = ["0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"]
FORMATS = {"": "BF16", "-GPTQ-Int4": "GPTQ-Int4", "-GPTQ-Int8": "GPTQ-Int8", "-AWQ": "AWQ"}

# Parameters as the model cards and the published checkpoints give them.
PARAMETERS = {
    "0.5B": 494_032_768,
    "1.5B": 1_543_714_304,
    "3B": 3_085_938_688,
    "7B": 7_615_616_512,
    "14B": 14_770_033_664,
    "32B": 32_763_876_352,
    "72B": 72_706_203_648,
}


@pytest.fixture(scope="module")
def asked_for(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shape | ShapeError]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return dict(zip(NAMED, shapes([model.config for model in NAMED.values()], anew=True), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_a_checkpoint_has_the_size_that_is_published(name: str, asked_for: dict[str, Shape | ShapeError]) -> None:
    shape = asked_for[name]
    assert isinstance(shape, Shape), shape
    assert shape.note == ""
    assert shipped.shape(NAMED[name].config) == shape, "run benchmarks/shapes.py"
    if NAMED[name].total_size is not None:
        assert shape.weight_bytes() == NAMED[name].total_size


def test_each_has_a_source_and_what_every_engine_reads() -> None:
    assert len(MODELS) > 40
    for name, model in MODELS.items():
        assert model.source
        assert name.count("/") == 1
        assert isinstance(model.config["model_type"], str)


def test_a_format_changes_a_config_that_is_there() -> None:
    plain, fp8 = MODELS["Qwen/Qwen3-8B"], MODELS["Qwen/Qwen3-8B-FP8"]
    assert {key for key in fp8.config if fp8.config[key] != plain.config.get(key)} == {"quantization_config"}


def test_shapes_of_all_are_shipped_and_known_without_torch() -> None:
    code = """if True:
        import sys, time
        from speed_benchmark.models.published import published
        from speed_benchmark.models.shapes.asked import shapes
        began = time.perf_counter()
        configs = [model.config for model in published().values()]
        known = {shape.model_dump_json() for shape in shapes(configs)}
        print(len(known), "torch" in sys.modules, time.perf_counter() - began)
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    known, torch, took_s = ran.stdout.split()
    assert int(known) == len(MODELS) - 1, "70B of Llama 3.1 and 3.3 are alike"
    assert torch == "False"
    assert float(took_s) < 2


def test_data_files_are_part_of_the_package() -> None:
    folder = Path(__file__).parents[2] / "src" / "speed_benchmark" / "models" / "data" / "configs"
    assert {file.suffix for file in folder.iterdir()} == {".json"}


@pytest.mark.slow
def test_a_mixture_of_experts_and_windows_against_figures_counted_by_hand(
    asked_for: dict[str, Shape | ShapeError],
) -> None:
    """Qwen3-30B-A3B: 48 layers, hidden 2048, 32 heads of 128, 4 of them for keys and values, 8 of 128 experts of 768.

    gpt-oss-20b: 24 layers, hidden 2880, 64 heads of 64, 8 of them for keys and values, 4 of 32 experts of 2880; each
    other layer sees 128 tokens.
    """
    mixture, windows = asked_for["Qwen/Qwen3-30B-A3B"], asked_for["openai/gpt-oss-20b"]
    assert isinstance(mixture, Shape)
    assert isinstance(windows, Shape)

    block = 2 * 2048 * 4096 + 2 * 2048 * 512 + 2048 * 128 + 8 * 3 * 2048 * 768
    assert mixture.decode_flops(1000) == 2 * (48 * block + 151936 * 2048) + 48 * 1000 * 4 * 32 * 128
    assert mixture.kv_cache_bytes(1000, 2) == 48 * 1000 * 2 * 4 * 128 * 2
    norms = 48 * (2 * 2048 + 2 * 128) + 2048
    assert mixture.read_bytes() == 2 * (48 * block + 151936 * 2048 + norms + 2048)
    all_experts = 48 * 128 * 3 * 2048 * 768
    assert mixture.parameters("expert") == all_experts
    assert mixture.read_bytes(1000) == pytest.approx(2 * (mixture.parameters() - (151936 - 1000) * 2048), rel=1e-6)

    block = 2 * 2880 * 4096 + 2 * 2880 * 512 + 2880 * 32 + 4 * 3 * 2880 * 2880
    positions = 12 * 1000 + 12 * 128
    assert windows.decode_flops(1000) == 2 * (24 * block + 201088 * 2880) + positions * 4 * 64 * 64
    assert windows.kv_cache_bytes(1000, 2) == positions * 2 * 8 * 64 * 2
    full = 1000 * 1001 // 2
    capped = 128 * 129 // 2 + (1000 - 128) * 128
    attention = 12 * (full + capped) * 4 * 64 * 64
    assert windows.prefill_flops(1000) == 1000 * 2 * 24 * block + 2 * 201088 * 2880 + attention


def config_of(name: str) -> dict[str, Any]:
    model = lookup(name)
    assert model is not None
    return model.config


def test_qwen2_5_is_complete() -> None:
    expected = {f"Qwen/Qwen2.5-{size}-Instruct{suffix}" for size in SIZES for suffix in FORMATS}
    assert {name for name in MODELS if "Qwen2.5" in name} == expected


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", SIZES)
def test_each_model_is_of_its_format(size: str, suffix: str) -> None:
    config = config_of(f"Qwen2.5-{size}-Instruct{suffix}")
    assert checkpoint.quantization_of(config) == FORMATS[suffix]
    assert config["torch_dtype"] == ("float16" if suffix else "bfloat16")


@pytest.mark.parametrize("size", SIZES)
def test_parameters_of_the_plain_models(size: str) -> None:
    shape = shipped.shape(config_of(f"Qwen2.5-{size}-Instruct"))
    assert shape is not None
    assert shape.parameters() == PARAMETERS[size]


def test_what_differs_within_the_family() -> None:
    small, large = config_of("Qwen2.5-3B-Instruct"), config_of("Qwen2.5-7B-Instruct")
    assert (small["vocab_size"], small["tie_word_embeddings"]) == (151936, True)
    assert (large["vocab_size"], large["tie_word_embeddings"]) == (152064, False)
    assert config_of("Qwen2.5-72B-Instruct")["intermediate_size"] == 29568
    for suffix in ("-GPTQ-Int4", "-GPTQ-Int8", "-AWQ"):
        assert config_of(f"Qwen2.5-72B-Instruct{suffix}")["intermediate_size"] == 29696


@pytest.mark.parametrize(("size", "penalty"), [("0.5B", 1.1), ("1.5B", 1.1), ("3B", 1.05), ("72B", 1.05)])
def test_generation_config(size: str, penalty: float) -> None:
    entry = lookup(f"Qwen/Qwen2.5-{size}-Instruct")
    assert entry is not None
    sampling = {key: entry.generation_config[key] for key in ("temperature", "top_p", "top_k", "repetition_penalty")}
    assert sampling == {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": penalty}


def test_names() -> None:
    full = lookup("Qwen/Qwen2.5-7B-Instruct-AWQ")
    assert full is lookup("Qwen2.5-7B-Instruct-AWQ")
    assert full is not None
    assert lookup("qwen/Qwen2.5-7B-Instruct-AWQ") is None
    assert lookup("") is None


def test_near_names() -> None:
    assert near("Qwen/Qwen2.5-7B-Instruct-AQW")[0] == "Qwen/Qwen2.5-7B-Instruct-AWQ"
    assert near("qwen2.5-0.5b-instruct")[0] == "Qwen/Qwen2.5-0.5B-Instruct"
    assert near("gpt2") == []


def test_the_room_is_light_until_weights_are_made() -> None:
    code = (
        "import sys; from speed_benchmark.models import published, checkpoint, rope, synthetic; "
        "print(sorted({'numpy', 'torch', 'transformers', 'safetensors'} & sys.modules.keys()))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"
