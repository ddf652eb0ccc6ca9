"""Models that people use: their config.json as data, with its source and the size of the weights as published.

`data/configs` has a file for each family: its models, and the formats in which they are published too, each with what
it changes in the config. `total_size` is that of the index of the weight files, where it was known
before it was computed here.
"""

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


class _Model(Frozen):
    total_size: Bytes | None
    config: Config


class _Format(Frozen):
    models: tuple[Text, ...]
    changes: Config


class _Family(Frozen):
    source: Text
    models: dict[Text, _Model]
    formats: dict[Text, _Format] = Field(default_factory=dict)

    def published(self) -> list[Published]:
        """Its models, and after them those in other formats."""
        plain = [Published(model_id=name, source=self.source, **dict(model)) for name, model in self.models.items()]
        return plain + [
            Published(
                model_id=name + suffix,
                source=self.source,
                total_size=None,
                config=self.models[name].config | format_.changes,
            )
            for suffix, format_ in self.formats.items()
            for name in format_.models
        ]


@cache
def published() -> dict[str, Published]:
    """All of them, by their ids."""
    folder = resources.files(__package__) / "data" / "configs"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    families = [_Family.model_validate(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return {model.model_id: model for family in families for model in family.published()}
