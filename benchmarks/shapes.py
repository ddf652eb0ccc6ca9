"""Write the shapes of models that people use as data of the package, from what transformers says of their configs.

`python benchmarks/shapes.py` takes about two minutes on two cores; what is no longer needed goes.
"""

import shutil
import sys
from pathlib import Path

from speed_benchmark.models.published import published
from speed_benchmark.models.shapes import shipped
from speed_benchmark.models.shapes.asked import ShapeError, shapes

FOLDER = Path(__file__).parents[1] / "src" / "speed_benchmark" / "models" / "data" / "shapes"


def main() -> None:
    """Ask for all of them, then write them."""
    configs = {model.model_id: model.config for model in published().values()}
    found = dict(zip(configs, shapes(list(configs.values()), anew=True), strict=True))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name, shape in found.items():
        if isinstance(shape, ShapeError):
            sys.exit(f"{name} {shape}")
        (FOLDER / shipped.name(configs[name])).write_text(shape.model_dump_json(exclude_defaults=True) + "\n")


if __name__ == "__main__":
    main()
