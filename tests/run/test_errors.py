"""A user's mistake is one line, with the option, the value and what to do, and exit status 2."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
QWEN = ("--model_id_or_path", "Qwen/Qwen2.5-0.5B-Instruct", "--weights", "synthetic")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--context_length", "0"), "--context_length 0: it should be greater than or equal to 1"),
        (("--context_length", "-5"), "--context_length -5"),
        (("--context_length", "1.5"), "--context_length 1.5: it should be a valid integer"),
        (("--context_length", "99999999999"), "--context_length 99999999999: it should be less than"),
        (("--context_length", "many"), "--context_length many"),
        (("--context_length", "5", "--generate_length", "0"), "--generate_length 0"),
        (("--context_length", "5", "--repeats", "0"), "--repeats 0"),
        (("--context_length", "5", "--dtype", "int3"), "--dtype int3: it should be 'auto', 'bfloat16'"),
        (("--context_length", "131072"), "this model reaches 131072"),
        (("--context_length", "5", "--gpus", "99"), "--gpus 99: "),
        (("--context_length", "5", "--gpus", "0,0"), "--gpus 0,0: names a GPU twice"),
        (("--context_length", "5", "--gpus", "0;1"), "--gpus 0;1: name GPUs by their numbers"),
        (("--context_length", "5", "--gpus", ""), "--gpus ''"),
        (("--context_length", "5", "--enforce_eager"), "applies to vllm only"),
        (("--context_length", "5", "--accept", "other-engines"), "--accept other-engines: choose of other-machines"),
        (("--context_length", "5", "--retry", "never"), "--retry never: it should be 'failed', 'doubtful' or 'all'"),
        (("--context_lenght", "5"), "--context_length"),
        ((), "--context_length"),
    ],
)
def test_bad_input(command: Command, arguments: tuple[str, ...], said: str) -> None:
    refused(command("run", "--engine", "transformers", *QWEN, *arguments), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max_model_len", "100", "--context_length", "90", "--generate_length", "20"), "raise it to 110"),
        (("--gpu_memory_utilization", "0", "--context_length", "5"), "--gpu_memory_utilization 0"),
        (("--gpu_memory_utilization", "1.01", "--context_length", "5"), "--gpu_memory_utilization 1.01"),
        (("--compile", "--context_length", "5"), "applies to transformers only"),
    ],
)
def test_bad_input_for_vllm(command: Command, arguments: tuple[str, ...], said: str) -> None:
    refused(command("run", "--engine", "vllm", *QWEN, *arguments), said)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "config.json"),
        ("{broken", "config.json"),
        ("[]", "config.json"),
        (json.dumps({"architectures": ["T5Model"], "model_type": "t5", "vocab_size": 5}), "safetensors"),
    ],
)
def test_bad_folder(command: Command, tmp_path: Path, config: str | None, said: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(config)
    refused(command("run", "--engine", "fake", "--model_id_or_path", folder, "--context_length", "5"), said)


def test_unknown_shape_names_what_is_near(command: Command) -> None:
    done = command(
        *("run", "--engine", "fake", "--weights", "synthetic"),
        *("--model_id_or_path", "Qwen/Qwen2.5-7b-Instruct-GPTQ-Int", "--context_length", "5"),
    )
    refused(done, "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4")


def test_outputs_dir_is_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    done = command("run", "--engine", "fake", *QWEN, "--context_length", "5", "--outputs_dir", tmp_path / "out")
    refused(done, "is a file; name a folder")


def test_unknown_engine(command: Command) -> None:
    refused(command("run", "--engine", "vlm", *QWEN, "--context_length", "5"), "choose one of transformers, vllm")


def refused(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
