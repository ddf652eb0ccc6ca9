from typing import Any

import pytest

from speed_benchmark.models import published, rope


def qwen() -> dict[str, Any]:
    entry = published.lookup("Qwen2.5-7B-Instruct")
    assert entry is not None
    return dict(entry.config)


def test_no_yarn_where_none_is_needed() -> None:
    assert rope.config_overrides(qwen(), 32768) == {}


def test_yarn_of_the_model_card() -> None:
    assert rope.config_overrides(qwen(), 129024 + 2048) == {
        "max_position_embeddings": 131072,
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
            "rope_theta": 1000000.0,
        },
    }
    assert rope.config_overrides(qwen(), 32769) == rope.config_overrides(qwen(), 131072)


def test_nothing_reaches_past_the_end() -> None:
    assert rope.longest(qwen()) == 131072
    with pytest.raises(ValueError, match="131073 tokens are more than the 131072"):
        rope.config_overrides(qwen(), 131073)


@pytest.mark.parametrize(
    ("changes", "reach"),
    [
        ({"max_position_embeddings": 1024}, 4096),
        ({"max_position_embeddings": 131072}, 131072),
        ({"max_position_embeddings": 1010000}, 1010000),
        ({"model_type": "llama", "max_position_embeddings": 8192}, 8192),
        (
            {"model_type": "llama", "max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2}},
            8192,
        ),
        (
            {
                "model_type": "llama",
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32768}}, 65536),
        ({"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, 131072),
    ],
)
def test_reach(changes: dict[str, Any], reach: int) -> None:
    assert rope.longest(qwen() | changes) == reach


def test_a_yarn_of_the_models_own_is_kept() -> None:
    own = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32768, "beta_fast": 16}
    overrides = rope.config_overrides(qwen() | {"rope_scaling": own}, 40000)
    assert overrides["max_position_embeddings"] == 65536
    assert overrides["rope_parameters"] == own | {"rope_type": "yarn", "rope_theta": 1000000.0}


@pytest.mark.slow
def test_transformers_takes_the_overrides() -> None:
    from transformers import Qwen2Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

    entry = published.lookup("Qwen2.5-0.5B-Instruct")
    assert entry is not None
    plain = Qwen2RotaryEmbedding(Qwen2Config(**entry.config))
    yarn = Qwen2RotaryEmbedding(Qwen2Config(**entry.config | rope.config_overrides(entry.config, 100_000)))
    # The attention factor of the YaRN paper, 0.1 ln(factor) + 1; fast rotations stay, slow ones are stretched by 4.
    assert yarn.attention_scaling == pytest.approx(1.13862943611)
    assert yarn.inv_freq[0] == plain.inv_freq[0]
    assert float(plain.inv_freq[-1] / yarn.inv_freq[-1]) == pytest.approx(4.0)
