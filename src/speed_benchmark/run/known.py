"""What is known of models before any is loaded: their configs, and their shapes, which are asked for together."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from speed_benchmark.cell import Model, canonical_json
from speed_benchmark.errors import UserError
from speed_benchmark.models import published, source
from speed_benchmark.models.config import Config
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes.asked import ShapeError, shapes

_answers: dict[str, Shape | ShapeError] = {}


@cache
def config(model: Model) -> Config | None:
    """The model's config.json, of a local folder or as published; None for other ids on a hub.

    Raises UserError for a folder that holds no model, and for synthetic weights of an unknown shape.
    """
    name = model.model_id_or_path
    folder = path(name)
    if model.weights == "synthetic":
        source.shape(name)
    if os.path.exists(folder) or name.startswith(("/", "./", "../", "~")):  # noqa: PTH110 - names may be too long
        if not os.path.isdir(folder):  # noqa: PTH112
            raise UserError("--model_id_or_path", name, "no such folder; name one that holds a config.json")
        if model.revision is not None:
            raise UserError("--revision", model.revision, "a local folder has no revisions; leave it out")
        return source.shape(name)[0] if model.weights == "synthetic" else source.inspect(folder, model)[0]
    entry = published.lookup(name)
    return entry.config if entry else None


def path(name: str) -> Path:
    """`name` as a path, ~ expanded; unlike pathlib's own this raises nothing for a user that is not there."""
    return Path(os.path.expanduser(name))  # noqa: PTH111


def ask(models: Iterable[Model]) -> None:
    """Have the shapes of all `models`; a model that is refused is so when it is looked at."""
    configs = []
    for model in dict.fromkeys(models):
        with suppress(UserError):
            configs.append(config(model))
    _ask([found for found in configs if found is not None])


def shape(model: Model) -> Shape | None:
    """The shape of a model whose config is known, None where nobody knows what it costs. Raises as `config` does."""
    found = config(model)
    return None if found is None else shape_of(found)


def shape_of(config: Config) -> Shape | None:
    """The shape of the model of a config.json, None where nobody knows what it costs."""
    (answer,) = _ask([config])
    return answer if isinstance(answer, Shape) and answer.forward else None


def notes(models: Iterable[Model]) -> Iterator[str]:
    """Of each model whose config is known, and not what it costs: why."""
    for model in dict.fromkeys(models):
        found = config(model)
        if found is not None and shape_of(found) is None:
            (answer,) = _ask([found])
            why = answer.note if isinstance(answer, Shape) else answer
            yield f"{model.model_id_or_path}: neither estimate nor roofline, for its shape is not known: {why}"


def _ask(configs: Sequence[Config]) -> list[Shape | ShapeError]:
    keys = [canonical_json(config) for config in configs]
    new = {key: config for key, config in zip(keys, configs, strict=True) if key not in _answers}
    if new:
        _answers.update(zip(new, shapes(list(new.values())), strict=True))
    return [_answers[key] for key in keys]
