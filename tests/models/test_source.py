"""Where weights are, and by which hash they are known, whatever the working directory."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import Model
from speed_benchmark.models import source, synthetic
from tests.shapes import GENERATION, TINY, tiny


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in `models/one`, seen from `tmp_path`, and a cache with no weights."""
    del own_cache
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(tiny_model, tmp_path / "models" / "one")


def known_digest(name: object, **model: Any) -> str | None:
    return source.weights_digest(Model(model_id_or_path=str(name), **model), lambda *_: None)


def damage(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


@pytest.mark.parametrize("name", ["models/one", "./models/one", "models/../models/one"])
def test_a_relative_path_is_fetched_as_the_folder_it_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fetched = source.fetch(Model(model_id_or_path=name), lambda *_: None)
    monkeypatch.chdir("/")
    assert fetched.folder.is_absolute()
    assert fetched.folder.samefile(folder)
    assert fetched == source.fetch(Model(model_id_or_path=str(fetched.folder)), lambda *_: None)


def test_the_digest_is_that_of_the_fetched_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = source.fetch(Model(model_id_or_path=str(folder)), lambda *_: None)
    assert known_digest(folder) == fetched.checkpoint.weights_digest
    assert known_digest("models/one") == fetched.checkpoint.weights_digest
    monkeypatch.chdir(folder.parent)
    assert known_digest("./one") == fetched.checkpoint.weights_digest


def test_other_weights_in_the_same_folder_have_another_digest(folder: Path) -> None:
    before = known_digest(folder)
    damage(folder / "model-00001-of-00001.safetensors")
    assert known_digest(folder) not in (None, before)


def test_progress_of_hashing_is_told(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    source.weights_digest(Model(model_id_or_path=str(folder)), lambda *step: told.append(step))
    size_bytes = (folder / "model-00001-of-00001.safetensors").stat().st_size
    assert told[-1] == ("checking weights", size_bytes, size_bytes)


def test_synthetic_weights_have_a_digest_once_they_are_made(folder: Path) -> None:
    assert known_digest(folder, weights="synthetic") is None
    made = synthetic.cached(TINY, GENERATION)
    assert known_digest(folder, weights="synthetic") == known_digest(made)
    (made / "model-00001-of-00001.safetensors").write_bytes(b"")
    assert known_digest(folder, weights="synthetic") is None, "not whole"


def test_nothing_is_made_or_asked_for_a_digest(folder: Path) -> None:
    assert known_digest("Qwen/Qwen2.5-0.5B-Instruct") is None
    assert known_digest("Qwen/Qwen2.5-0.5B-Instruct", weights="synthetic") is None
    assert [kept.name for kept in (folder.parents[1] / "cache" / "speed-benchmark").iterdir()] == ["shapes"]


def test_weights_that_cannot_be_read_have_no_digest(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model-00001-of-00001.safetensors").write_bytes(b"half")
    assert known_digest(folder) is None


def test_each_format_is_another_checkpoint(folder: Path) -> None:
    del folder
    assert len({synthetic.cache_folder(tiny(suffix), GENERATION) for suffix in ("", "-AWQ", "-GPTQ-Int4")}) == 3
