import subprocess
import sys

import pytest

from speed_benchmark.models import catalogue, checkpoint

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


def config_of(name: str) -> dict[str, object]:
    entry = catalogue.lookup(name)
    assert entry is not None
    return entry.config


def test_the_family_is_complete() -> None:
    expected = [f"Qwen/Qwen2.5-{size}-Instruct{suffix}" for size in SIZES for suffix in FORMATS]
    assert [entry.model_id for entry in catalogue.entries()] == expected


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", SIZES)
def test_each_model_is_of_its_format(size: str, suffix: str) -> None:
    config = config_of(f"Qwen2.5-{size}-Instruct{suffix}")
    assert checkpoint.quantization_of(config) == FORMATS[suffix]
    assert config["torch_dtype"] == ("float16" if suffix else "bfloat16")
    assert checkpoint.tensors(config)[0].name == "model.embed_tokens.weight"


@pytest.mark.parametrize("size", SIZES)
def test_parameters_of_the_plain_models(size: str) -> None:
    plain = checkpoint.tensors(config_of(f"Qwen2.5-{size}-Instruct"))
    assert sum(tensor.elements for tensor in plain) == PARAMETERS[size]


def test_what_differs_within_the_family() -> None:
    small, large = config_of("Qwen2.5-3B-Instruct"), config_of("Qwen2.5-7B-Instruct")
    assert (small["vocab_size"], small["tie_word_embeddings"]) == (151936, True)
    assert (large["vocab_size"], large["tie_word_embeddings"]) == (152064, False)
    assert config_of("Qwen2.5-72B-Instruct")["intermediate_size"] == 29568
    for suffix in ("-GPTQ-Int4", "-GPTQ-Int8", "-AWQ"):
        assert config_of(f"Qwen2.5-72B-Instruct{suffix}")["intermediate_size"] == 29696


@pytest.mark.parametrize(("size", "penalty"), [("0.5B", 1.1), ("1.5B", 1.1), ("3B", 1.05), ("72B", 1.05)])
def test_generation_config(size: str, penalty: float) -> None:
    entry = catalogue.lookup(f"Qwen/Qwen2.5-{size}-Instruct")
    assert entry is not None
    sampling = {key: entry.generation_config[key] for key in ("temperature", "top_p", "top_k", "repetition_penalty")}
    assert sampling == {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": penalty}


def test_names() -> None:
    full = catalogue.lookup("Qwen/Qwen2.5-7B-Instruct-AWQ")
    assert full is catalogue.lookup("Qwen2.5-7B-Instruct-AWQ")
    assert full is not None
    assert catalogue.lookup("qwen/Qwen2.5-7B-Instruct-AWQ") is None
    assert catalogue.lookup("") is None


def test_near_names() -> None:
    assert catalogue.near("Qwen/Qwen2.5-7B-Instruct-AQW")[0] == "Qwen/Qwen2.5-7B-Instruct-AWQ"
    assert catalogue.near("qwen2.5-0.5b-instruct")[0] == "Qwen/Qwen2.5-0.5B-Instruct"
    assert catalogue.near("gpt2") == []


def test_the_room_is_light_until_weights_are_made() -> None:
    code = (
        "import sys; from speed_benchmark.models import catalogue, checkpoint, rope, synthetic; "
        "print(sorted({'numpy', 'pydantic', 'torch', 'transformers', 'safetensors'} & sys.modules.keys()))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"
