"""What is asked of transformers without values, against small models with values: as saved, and as run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes.asked import ShapeError, shapes
from tests.models.families import FAMILIES

pytestmark = pytest.mark.slow

TOKENS = (5, 7)
BFLOAT16_BYTES = 2

Family = tuple[dict[str, Any], Shape | ShapeError]


@pytest.fixture(scope="module")
def families() -> dict[str, Family]:
    """By name: what a process with values says of each, and its shape."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.models.saved", *FAMILIES], capture_output=True, text=True, check=True
    )
    rows = [json.loads(line.removeprefix("told ")) for line in ran.stdout.splitlines() if line.startswith("told ")]
    assert [row["name"] for row in rows if "error" not in row] == list(FAMILIES), [
        row for row in rows if "error" in row
    ]
    asked = shapes([row["config"] for row in rows])
    return {row["name"]: (row, shape) for row, shape in zip(rows, asked, strict=True)}


@pytest.mark.parametrize("name", FAMILIES)
def test_tensors_are_those_that_are_saved_and_the_cache_is_that_of_a_run(
    name: str, families: dict[str, Family]
) -> None:
    told, shape = families[name]
    assert isinstance(shape, Shape), shape
    found = {tensor.name: [tensor.dtype, list(tensor.shape)] for tensor in shape.each_tensor()}
    assert found == told["tensors"]
    assert shape.note == ""
    assert [shape.kv_cache_bytes(tokens, BFLOAT16_BYTES) for tokens in TOKENS] == told["kept"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_token_takes_two_operations_for_each_weight_it_goes_through(name: str, families: dict[str, Family]) -> None:
    """Within 4 %: norms and biases are weights that are in no product, states are products without weights."""
    _, shape = families[name]
    assert isinstance(shape, Shape)
    assert shape.forward is not None
    assert shape.forward.flops == pytest.approx(2 * shape.active_parameters(), rel=0.04)


def test_every_kind_of_layer_is_among_them(families: dict[str, Family]) -> None:
    kinds = {
        group.kind
        for _, shape in families.values()
        if isinstance(shape, Shape) and shape.forward
        for group in shape.forward.layers
    }
    assert kinds >= {"full", "sliding", "latent", "state"}
    mixtures = [shape for _, shape in families.values() if isinstance(shape, Shape) and shape.experts]
    assert len(mixtures) >= 10


def test_no_family_is_known_by_name() -> None:
    folder = Path(__file__).parents[2] / "src" / "speed_benchmark" / "models"
    text = "".join(file.read_text() for file in (folder / "shape.py", *(folder / "shapes").glob("*.py")))
    assert not [name for name in FAMILIES if f'"{name}"' in text]
