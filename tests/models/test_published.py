"""Configs as data, against the sizes of the weights as published."""

from pathlib import Path

import pytest

from speed_benchmark.models.published import published
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes.asked import ShapeError, shapes

MODELS = published()
NAMED = {name: model for name, model in MODELS.items() if "quantization_config" not in model.config or model.total_size}


@pytest.fixture(scope="module")
def asked_for(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shape | ShapeError]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return dict(zip(NAMED, shapes([model.config for model in NAMED.values()]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_a_checkpoint_has_the_size_that_is_published(name: str, asked_for: dict[str, Shape | ShapeError]) -> None:
    shape = asked_for[name]
    assert isinstance(shape, Shape), shape
    assert shape.note == ""
    if NAMED[name].total_size is not None:
        assert shape.weight_bytes() == NAMED[name].total_size


def test_each_has_a_source_and_what_every_engine_reads() -> None:
    assert len(MODELS) > 40
    for name, model in MODELS.items():
        assert model.source
        assert name.count("/") == 1
        assert isinstance(model.config["model_type"], str)


def test_a_format_changes_a_config_that_is_there() -> None:
    plain, fp8 = MODELS["Qwen/Qwen3-8B"], MODELS["Qwen/Qwen3-8B-FP8"]
    assert {key for key in fp8.config if fp8.config[key] != plain.config.get(key)} == {"quantization_config"}


def test_data_files_are_part_of_the_package() -> None:
    folder = Path(__file__).parents[2] / "src" / "speed_benchmark" / "models" / "data" / "configs"
    assert {file.suffix for file in folder.iterdir()} == {".json"}
