"""How a model samples by its generation_config.json: what makes no sense is refused, what is recorded is what ran."""

import json
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.errors import UserError
from speed_benchmark.models.sampling import read_sampling, sampling_of
from speed_benchmark.record.engine import Sampling

pytestmark = pytest.mark.attack("2.13")


@pytest.mark.parametrize(
    ("config", "sampling"),
    [
        ({}, Sampling()),
        ({"temperature": 0.7, "top_p": 5, "top_k": -1}, Sampling()),
        ({"do_sample": False, "repetition_penalty": 1.1}, Sampling(repetition_penalty=1.1)),
        ({"do_sample": True}, Sampling(temperature=1.0)),
        ({"do_sample": True, "temperature": None, "top_p": None, "top_k": None}, Sampling(temperature=1.0)),
        (
            {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05},
            Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05),
        ),
        ({"do_sample": True, "temperature": 2, "top_p": 1}, Sampling(temperature=2.0)),
        ({"do_sample": True, "temperature": 0, "top_p": 0.8}, Sampling()),
        (
            {"do_sample": True, "temperature": -0.0, "top_k": 5, "repetition_penalty": 1.1},
            Sampling(repetition_penalty=1.1),
        ),
    ],
    ids=str,
)
def test_what_runs(config: dict[str, Any], sampling: Sampling) -> None:
    assert sampling_of(config) == sampling


BAD = [
    *(("temperature", value) for value in (-1, -1e-9, 1e308, 10**400, "0.7", True, [1])),
    *(("top_p", value) for value in (0, -0.0, -1, 1.0001, 5, "1")),
    *(("top_k", value) for value in (-1, 0.5, 20.0, 10**30, "20", True)),
    *(("repetition_penalty", value) for value in (0, -1.1, 1e308, 10**400, "1")),
    *(("do_sample", value) for value in ("true", 1, [True])),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=lambda value: str(value)[:20])
def test_what_makes_no_sense_names_the_file_and_the_key(tmp_path: Path, key: str, value: object) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"do_sample": True, key: value}))
    with pytest.raises(UserError, match=rf"^--model_id_or_path \S+: {key} in its generation_config\.json") as refused:
        read_sampling(tmp_path)
    assert str(refused.value).isprintable()


def test_a_penalty_counts_without_sampling_too() -> None:
    with pytest.raises(ValueError, match=r"^repetition_penalty in its generation_config\.json"):
        sampling_of({"repetition_penalty": 0})
