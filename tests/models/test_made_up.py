"""Made-up checkpoints of many families and formats, from a config alone, in the real transformers."""

import json
import subprocess
import sys
from typing import Any

import pytest

from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes.asked import shapes
from speed_benchmark.models.synthetic import synthesize
from tests.models.families import FAMILIES, config_of
from tests.models.test_formats import DENSE, FORMATS, MIXTURE

pytestmark = [pytest.mark.engine, pytest.mark.slow]

MXFP4 = {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": []}}
# GPTQ's and AWQ's kernels here take float16 alone.
OF_FORMATS = {
    name: DENSE
    | {
        "max_position_embeddings": 4096,
        "quantization_config": form,
        "torch_dtype": "float16" if name.startswith(("GPTQ", "AWQ")) else "bfloat16",
    }
    for name, form in FORMATS.items()
}
MIXTURES = {f"mixture in {name}": MIXTURE | {"quantization_config": FORMATS[name]} for name in ("FP8", "W4A16")}
NAMES = [*FAMILIES, *OF_FORMATS, *MIXTURES, "gpt_oss in MXFP4"]

Told = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Shape, Told]]:
    """By name: the shape of a checkpoint, and what a process says that loads it."""
    configs = {name: config_of(name) for name in FAMILIES} | OF_FORMATS | MIXTURES
    configs["gpt_oss in MXFP4"] = config_of("gpt_oss") | MXFP4
    asked = shapes(list(configs.values()))
    assert all(isinstance(shape, Shape) for shape in asked), asked
    root = tmp_path_factory.mktemp("made")
    folders = [str(synthesize(config, {}, root / name.replace(" ", "-"))) for name, config in configs.items()]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.models.made_up", *folders], capture_output=True, text=True, check=True
    )
    rows = [json.loads(line.removeprefix("told ")) for line in ran.stdout.splitlines() if line.startswith("told ")]
    assert len(rows) == len(configs)
    return {
        name: (shape, row) for name, shape, row in zip(configs, asked, rows, strict=True) if isinstance(shape, Shape)
    }


@pytest.mark.parametrize("name", NAMES)
def test_all_is_loaded_and_logits_are_finite(name: str, made: dict[str, tuple[Shape, Told]]) -> None:
    _, told = made[name]
    assert "error" not in told, told
    assert not told["wrong"]
    assert told["finite"]
    assert told["differ"], "what was said before has a say"


@pytest.mark.parametrize("name", OF_FORMATS)
def test_packed_weights_stand_for_those_of_a_new_model(name: str, made: dict[str, tuple[Shape, Told]]) -> None:
    """As the kernel unpacks them. Scales vary by 10 %, and a layer may have only one: it is within three of these."""
    _, told = made[name]
    assert told["std"] == pytest.approx(0.02, rel=0.3)
    assert told["mean"] == pytest.approx(0.0, abs=5 * 0.026 / (256 * 512) ** 0.5)


def test_routers_spread_tokens_evenly(made: dict[str, tuple[Shape, Told]]) -> None:
    """All experts get some of 96 tokens, and none more than twice its share: 4 standard deviations."""
    spread = {name: told for name, (_, told) in made.items() if told["touched"]}
    assert len(spread) >= 12
    for name, told in spread.items():
        experts = made[name][0].experts
        assert experts is not None
        assert set(told["touched"]) == {experts.count}, name
        assert max(told["busiest"]) < 2 / experts.count, name
