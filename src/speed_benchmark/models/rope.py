"""How far a model's rotary position embedding reaches, and YaRN beyond that.

YaRN: Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models" (arXiv:2309.00071), with
the settings of Qwen2.5's and Qwen3's model cards: factor 4, from 32768 to 131072 positions.
"""

from speed_benchmark.models.config import Config, in_text_config, text_config

YARN_FACTOR = 4
YARN_FROM_TOKENS = 32_768
"""The positions that are stretched; the config of Qwen3 names 8192 more, for the output."""
YARN_FAMILIES = ("qwen2", "qwen3", "qwen3_moe")
DEFAULT_THETA = 10_000.0
MAX_NUMBER = 100_000_000
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "context_length", "model_max_length")
"""What families call the positions that their model was trained for."""


def longest(config: Config) -> int:
    """Prompt and output tokens that a model with this `config` takes at most, YaRN included where it applies.

    What its config does not limit is limited to MAX_NUMBER. Raises ValueError where its own scaling makes no sense.
    """
    config = text_config(config)
    own, scaling = _own(config), _scaling(config)
    if _kind(scaling) != "default":
        stretched = int(_number(scaling, "original_max_position_embeddings", own) * _number(scaling, "factor", 1))
        return min(max(own, stretched), MAX_NUMBER)
    if config.get("model_type") not in YARN_FAMILIES:
        return own
    return max(own, min(own, YARN_FROM_TOKENS) * YARN_FACTOR)


def config_overrides(config: Config, total_tokens: int) -> Config:
    """Keys of config.json to replace so that `total_tokens` (prompt and output) fit: {}, or YaRN.

    They are what an engine takes as overrides of the config that it reads. Raises ValueError past `longest`.
    """
    whole, config = config, text_config(config)
    own, reach = _own(config), longest(config)
    if total_tokens > reach:
        raise ValueError(f"{total_tokens} tokens are more than the {reach} that the model reaches")
    scaling = _scaling(config)
    kind = _kind(scaling)
    if total_tokens <= own or kind not in ("default", "yarn"):
        return {}
    stretched = min(own, YARN_FROM_TOKENS)
    yarn = {
        "rope_type": "yarn",
        "rope_theta": scaling.get("rope_theta") or config.get("rope_theta") or DEFAULT_THETA,
        "factor": reach / stretched,
        "original_max_position_embeddings": stretched,
    }
    if kind == "yarn":
        yarn |= scaling
    return in_text_config(whole, {"max_position_embeddings": reach, "rope_parameters": yarn})


def _own(config: Config) -> int:
    """The positions that the model was trained for; MAX_NUMBER where its config gives no such number."""
    return next((int(config[name]) for name in POSITIONS if config.get(name) is not None), MAX_NUMBER)


def _scaling(config: Config) -> Config:
    """The rope settings under either of their names: `rope_scaling` up to transformers 4, then `rope_parameters`."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(scaling, dict):
        raise ValueError("rope_scaling in its config.json is not a JSON object; get the file again")
    return scaling


def _kind(scaling: Config) -> str:
    return str(scaling.get("rope_type") or scaling.get("type") or "default")


def _number(scaling: Config, key: str, default: int) -> float:
    value = scaling.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_NUMBER:
        raise ValueError(f"{key} of the rope_scaling in its config.json is no number from 1 up; get the file again")
    return value
