"""Models that bring code: in Python, in pickles, in templates."""

import json
import pickle
from pathlib import Path

import pytest

from tests.hostile.box import Box


def with_code(box: Box, **auto_map: object) -> None:
    box.configure(auto_map=auto_map)
    for module in ("configuration_evil", "modeling_evil"):
        (box.model / f"{module}.py").write_text(f"import os; os.mkdir({str(box.ran)!r})\n")


def test_code_is_refused_and_named(box: Box) -> None:
    with_code(box, AutoConfig="configuration_evil.Config", AutoModelForCausalLM="modeling_evil.Model")
    error = box.refused()
    assert "configuration_evil.py, modeling_evil.py" in error
    assert "--trust_remote_code" in error


@pytest.mark.parametrize("architecture", ["Qwen2ForCausalLM", "EvilForCausalLM"])
def test_the_parent_does_not_run_code_that_is_allowed_either(box: Box, architecture: str) -> None:
    with_code(box, AutoModelForCausalLM=["modeling_evil.Model", None])
    box.configure(architectures=[architecture])
    assert "digest" in box.fetch(trust_remote_code=True)


@pytest.mark.parametrize("auto_map", ["modeling_evil.Model", {"AutoModel": 7}, ["a.b", {}], {"A": {"B": "c.d"}}])
def test_strange_maps_of_code(box: Box, auto_map: object) -> None:
    box.configure(auto_map=auto_map)
    assert "would run code of its own" in box.refused()


def test_code_of_another_repository(box: Box) -> None:
    with_code(box, AutoModelForCausalLM="evil/repo--modeling_evil.Model")
    assert "code of another repository" in box.refused(trust_remote_code=True)


def test_code_for_generation(box: Box) -> None:
    (box.model / "custom_generate").mkdir()
    (box.model / "custom_generate" / "generate.py").write_text(f"import os; os.mkdir({str(box.ran)!r})\n")
    assert "custom_generate/generate.py" in box.refused()


def test_code_does_not_come_by_way_of_made_up_weights(box: Box) -> None:
    with_code(box, AutoModelForCausalLM="modeling_evil.Model")
    assert "modeling_evil.py" in box.refused(weights="synthetic")


def only_pickled(box: Box) -> None:
    for file in box.model.glob("*.safetensors*"):
        file.unlink()
    # As large as the config says, so that nothing but the pickle is wrong with it.
    (box.model / "pytorch_model.bin").write_bytes(box.evil_pickle() + b"\0" * 2_000_000)


def test_pickled_weights_are_refused(box: Box) -> None:
    only_pickled(box)
    error = box.refused()
    assert "pytorch_model.bin" in error
    assert "--allow_pickle" in error


@pytest.mark.engine
def test_pickled_weights_that_are_allowed_run_nothing_even_then(box: Box) -> None:
    only_pickled(box)
    assert "digest" in box.fetch(allow_pickle=True)
    status, record = box.measure("--allow_pickle", engine="transformers")
    assert (status, record["outcome"]) == (1, "crashed")
    assert "Weights only load failed" in record["cause"]["message"]
    assert not box.ran.exists()
    pickle.loads(box.evil_pickle())  # noqa: S301 - the pickle does mean harm
    assert box.ran.exists()


@pytest.mark.engine
def test_pickles_beside_safetensors_are_not_read(box: Box) -> None:
    for name in ("pytorch_model.bin", "training_args.bin", "tokenizer.pkl", "tokenizer.model", "model.pt"):
        (box.model / name).write_bytes(box.evil_pickle())
    status, record = box.measure()
    assert (status, record["outcome"]) == (0, "ok")
    assert not box.ran.exists()


TOKENIZERS = {
    "pickle": b"",
    "empty": b"",
    "half": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {',
    "deep": b'{"a":' * 100_000,
    "no tokenizer": b"[]",
    "wrong types": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": -1}, "merges": [["b", "c"]]}}',
    "million merges": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": [%s"a b"]}}'
    % (b'"a b",' * 10**6),
}


@pytest.mark.engine
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizer_that_is_none_is_an_outcome(box: Box, kind: str) -> None:
    (box.model / "tokenizer.json").write_bytes(TOKENIZERS[kind] or (box.evil_pickle() if kind == "pickle" else b""))
    _, record = box.measure()
    assert record["outcome"] == "unsupported"
    assert "tokenizer.json can't be read" in record["cause"]["message"]
    assert record["checkpoint"]["weights_digest"]
    assert not box.ran.exists()


SECRET = "not for models"  # noqa: S105 - of no one
TEMPLATES = {
    "loops": "{% for a in range(10 ** 12) %}{% for b in range(10 ** 12) %}x{% endfor %}{% endfor %}",
    "reads a file": "{% include '../secret' %}",
    "runs code": "{{ cycler.__init__.__globals__.os.mkdir('ran') }}",
}


@pytest.mark.engine
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json", "chat_template.json"])
def test_a_chat_template_is_not_executed(box: Box, template: str, file: str) -> None:
    (box.model.parent / "secret").write_text(SECRET)
    text = TEMPLATES[template]
    (box.model / file).write_text(text if file.endswith("jinja") else json.dumps({"chat_template": text}))
    status, record = box.measure()
    assert (status, record["outcome"]) == (0, "ok")
    assert SECRET not in json.dumps(record)
    assert not box.ran.exists()


def test_a_refused_model_is_an_error_in_one_line(box: Box) -> None:
    only_pickled(box)
    done = box.python("-m", "speed_benchmark", "run", "--engine", "fake", "--context_length", "5",
                      "--model_id_or_path", str(box.model), "--outputs_dir", str(box.home / "out"))  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: --model_id_or_path")
    assert len(done.stderr.splitlines()) == 1
    assert not Path(box.home, "out").exists() or not list(Path(box.home, "out").rglob("*.json"))
