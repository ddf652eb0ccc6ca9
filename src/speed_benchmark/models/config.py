"""The content of a model's config.json, as it comes from outside."""

from typing import Any

# Any: nobody vouches for what a file of somebody else holds; `checkpoint.read_config` checks what is used of it.
Config = dict[str, Any]

# As transformers names the part of a multimodal config that describes the language model.
_TEXT_CONFIGS = ("text_config", "decoder", "generator")


def text_config(config: Config) -> Config:
    """What `config` says of the language model: inside a multimodal one its own part, before what is said of all."""
    name = _name_of_text_config(config)
    own = config[name] if name else {}
    return config | {key: value for key, value in own.items() if value is not None}


def in_text_config(config: Config, changes: Config) -> Config:
    """The keys of `config` to replace so that what it says of the language model has these `changes`."""
    name = _name_of_text_config(config)
    return {name: config[name] | changes} if name else changes


def _name_of_text_config(config: Config) -> str | None:
    return next((name for name in _TEXT_CONFIGS if isinstance(config.get(name), dict)), None)
