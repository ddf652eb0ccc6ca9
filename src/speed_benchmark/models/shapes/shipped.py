"""Shapes that are known without asking: those of models that people use, kept as data of this package.

`benchmarks/shapes.py` writes them from what transformers says, a file for each config, by its hash.
"""

import hashlib
from functools import cache
from importlib import resources

from speed_benchmark.cell import canonical_json
from speed_benchmark.models.config import Config
from speed_benchmark.models.shape import Shape


def shape(config: Config) -> Shape | None:
    """The shape of the model of a config.json, None where it is not among them."""
    return _read(name(config))


def name(config: Config) -> str:
    """The file of a config's shape."""
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()[:32] + ".json"


@cache
def _read(file_name: str) -> Shape | None:
    file = resources.files("speed_benchmark.models") / "data" / "shapes" / file_name
    return Shape.model_validate_json(file.read_bytes()) if file.is_file() else None
