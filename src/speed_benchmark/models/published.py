"""Models that people use: config.json and generation_config.json as data, with their source and the published size.

`data/configs` has a file for each family: its models, and the formats in which they are published too, each with what
it changes in the config. A model's generation config is that of its family, with its own keys. `total_size` is that of
the index of the weight files, where it was known before it was computed here.
"""

import difflib
import json
from functools import cache
from importlib import resources

from pydantic import Field

from speed_benchmark.models.config import Config
from speed_benchmark.record.base import Bytes, Frozen, Text


class Published(Frozen):
    """A model as it is published; `total_size` in bytes, None where it is not known or not comparable."""

    model_id: Text
    source: Text
    total_size: Bytes | None
    config: Config
    generation_config: Config


class _Model(Frozen):
    total_size: Bytes | None
    config: Config
    generation_config: Config = Field(default_factory=dict)


class _Format(Frozen):
    models: tuple[Text, ...]
    changes: Config


class _Family(Frozen):
    source: Text
    generation_config: Config = Field(default_factory=dict)
    models: dict[Text, _Model]
    formats: dict[Text, _Format] = Field(default_factory=dict)

    def published(self) -> list[Published]:
        """Its models, and after them those in other formats."""
        plain = [self._published(name, model.config, model.total_size, name) for name, model in self.models.items()]
        return plain + [
            self._published(name + suffix, self.models[name].config | format_.changes, None, name)
            for suffix, format_ in self.formats.items()
            for name in format_.models
        ]

    def _published(self, model_id: str, config: Config, total_size: int | None, plain: str) -> Published:
        sampling = self.generation_config | self.models[plain].generation_config
        return Published(
            model_id=model_id, source=self.source, total_size=total_size, config=config, generation_config=sampling
        )


@cache
def published() -> dict[str, Published]:
    """All of them, by their ids."""
    folder = resources.files(__package__) / "data" / "configs"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    families = [_Family.model_validate(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return {model.model_id: model for family in families for model in family.published()}


def lookup(model_id: str) -> Published | None:
    """The model of that id, given with or without its organisation; None for one that is not among them."""
    return published().get(model_id) or _by_bare_name().get(model_id)


def near(model_id: str) -> list[str]:
    """Ids among them that look like `model_id`, the nearest first, at most three."""
    by_lower_case = {bare.lower(): model.model_id for bare, model in _by_bare_name().items()}
    wanted = model_id.rsplit("/", 1)[-1].lower()
    return [by_lower_case[match] for match in difflib.get_close_matches(wanted, by_lower_case)]


@cache
def _by_bare_name() -> dict[str, Published]:
    return {name.partition("/")[2]: model for name, model in published().items()}
