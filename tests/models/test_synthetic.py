import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from speed_benchmark.errors import UserError
from speed_benchmark.models import checkpoint, synthetic
from speed_benchmark.models.filler import Filler
from speed_benchmark.models.shape import Tensor
from speed_benchmark.models.shapes.asked import ShapeError, shape
from tests.shapes import tiny

FORMATS = ["", "-GPTQ-Int4", "-GPTQ-Int8", "-AWQ"]


@pytest.fixture
def cache(own_cache: Path) -> Path:
    return own_cache / "speed-benchmark" / "synthetic"


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_files_hold_exactly_the_tensors_of_the_config(tmp_path: Path, suffix: str) -> None:
    config = tiny(suffix)
    told: list[tuple[int, int]] = []
    folder = synthetic.synthesize(
        config, {"top_k": 20}, tmp_path / "model", on_progress=lambda *bytes_: told.append(bytes_)
    )

    index = json.loads((folder / "model.safetensors.index.json").read_text())
    found = {}
    for name, file in index["weight_map"].items():
        with safe_open(folder / file, framework="pt") as tensors:
            part = tensors.get_slice(name)
            found[name] = (part.get_dtype(), tuple(part.get_shape()))
    assert found == {tensor.name: (tensor.dtype, tensor.shape) for tensor in shape(config).each_tensor()}
    assert index["metadata"]["total_size"] == shape(config).weight_bytes()
    assert json.loads((folder / "config.json").read_text()) == config
    assert json.loads((folder / "generation_config.json").read_text()) == {"top_k": 20}
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
    ]
    on_disk = sum(file.stat().st_size for file in folder.iterdir())
    assert told == sorted(told)
    assert told[-1] == (on_disk, on_disk)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "SHARD_BYTES", 600_000)
    folder = synthetic.synthesize(tiny(), {}, tmp_path / "model")
    files = sorted(file.name for file in folder.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files)


@pytest.mark.parametrize(("dtype", "stored"), [("float16", "F16"), ("float32", "F32"), ("bfloat16", "BF16")])
def test_values(tmp_path: Path, dtype: str, stored: str) -> None:
    folder = synthetic.synthesize(tiny(torch_dtype=dtype), {}, tmp_path / "model")
    with safe_open(folder / "model-00001-of-00001.safetensors", framework="pt") as tensors:
        weight = tensors.get_tensor("model.layers.1.mlp.down_proj.weight")
        other = tensors.get_tensor("model.layers.0.mlp.down_proj.weight")
        norm = tensors.get_tensor("model.norm.weight")
        assert tensors.get_slice("model.norm.weight").get_dtype() == stored
    # 131072 values: their standard deviation is known to 0.2 %, their mean to 0.02 / 362.
    assert float(weight.float().std()) == pytest.approx(0.02, rel=0.01)
    assert float(weight.float().mean()) == pytest.approx(0.0, abs=5 * 0.02 / 362)
    assert float(norm.float().mean()) == pytest.approx(1.0, abs=5 * 0.02 / 16)
    assert not weight.equal(other)


def test_a_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> str:
        folder = synthetic.synthesize(tiny("-GPTQ-Int4"), {}, tmp_path / name, seed=seed)
        return hashlib.sha256((folder / "model-00001-of-00001.safetensors").read_bytes()).hexdigest()

    assert made("one", 0) == made("two", 0) != made("three", 1)


MEASURE = """
import json, re, sys
from pathlib import Path
from speed_benchmark.models import synthetic
synthetic.synthesize(json.loads(sys.argv[1]), {}, Path(sys.argv[2]))
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    config = tiny("-GPTQ-Int4", hidden_size=512, vocab_size=1_000_000, num_hidden_layers=1)
    answer = run(MEASURE, json.dumps(config), str(tmp_path / "model"))
    assert answer.returncode == 0, answer.stderr
    embedding_bytes = 1_000_000 * 512 * 2
    assert int(answer.stdout) * 1024 < embedding_bytes // 4


DIE = """
import json, os, signal, sys
from speed_benchmark.models import synthetic
def die(done, total):
    if done >= total * float(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
synthetic.cached(json.loads(sys.argv[1]), {}, on_progress=die)
"""


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_an_interrupted_making_is_never_taken_for_a_finished_one(cache: Path, share: float) -> None:
    config = tiny()
    assert run(DIE, json.dumps(config), str(share)).returncode == -9
    folder = synthetic.cache_folder(config, {})
    assert not folder.exists()
    assert sorted(file.suffix for file in cache.iterdir()) == [".lock", ".partial"]

    assert synthetic.cached(config, {}) == folder
    assert list(cache.iterdir()) == [folder]
    assert checkpoint.read_config(folder) == config


def test_leftovers_of_other_models_are_removed(cache: Path) -> None:
    assert run(DIE, json.dumps(tiny("-AWQ")), "0.5").returncode == -9
    folder = synthetic.cached(tiny(), {})
    assert list(cache.iterdir()) == [folder]


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def fail(_done_bytes: int, _total_bytes: int) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        synthetic.synthesize(tiny(), {}, tmp_path / "model", on_progress=fail)
    assert list(tmp_path.iterdir()) == []


MAKE_SLOWLY = """
import json, sys, time
from speed_benchmark.models import synthetic
calls = []
def note(done, total):
    calls.append(done)
    time.sleep(0.02)
synthetic.cached(json.loads(sys.argv[1]), {}, on_progress=note)
print(len(calls))
"""


@pytest.mark.usefixtures("cache")
def test_two_processes_make_it_once() -> None:
    config = tiny()
    command = [sys.executable, "-c", MAKE_SLOWLY, json.dumps(config)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    calls = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(calls)[:2] == [0, 0]
    assert max(calls) > 0
    folder = synthetic.cached(config, {}, on_progress=lambda *_: pytest.fail("made again"))
    assert list(folder.parent.iterdir()) == [folder]


def test_a_making_under_way_is_not_a_leftover(cache: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE_SLOWLY, json.dumps(tiny())], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(cache.glob(".*.partial/*.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    synthetic.cached(tiny("-AWQ"), {})
    assert int(process.communicate(timeout=120)[0]) > 0
    assert process.returncode == 0
    assert synthetic.cache_folder(tiny(), {}).is_dir()


def test_a_damaged_checkpoint_is_made_again(cache: Path) -> None:
    folder = synthetic.cached(tiny(), {})
    weights = folder / "model-00001-of-00001.safetensors"
    size_bytes = weights.stat().st_size
    os.truncate(weights, size_bytes // 2)
    assert synthetic.cached(tiny(), {}) == folder
    assert weights.stat().st_size == size_bytes
    assert list(cache.iterdir()) == [folder]


def test_what_is_asked_for_decides_the_folder(cache: Path) -> None:
    folders = {
        synthetic.cache_folder(tiny(), {}),
        synthetic.cache_folder(tiny(), {"top_k": 1}),
        synthetic.cache_folder(tiny("-AWQ"), {}),
        synthetic.cache_folder(tiny(rms_norm_eps=1e-5), {}),
    }
    assert len(folders) == 4
    assert {folder.parent for folder in folders} == {cache}


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert synthetic.cache_folder(tiny(), {}).is_relative_to(Path.home() / ".cache")


@pytest.mark.slow
def test_too_large_for_the_disk(cache: Path) -> None:
    terabytes = tiny(hidden_size=65536, intermediate_size=1048576, num_attention_heads=64, num_hidden_layers=64)
    with pytest.raises(synthetic.NotEnoughDiskError, match=r"need 2\d{4}\.\d GB .* make room") as refused:
        synthetic.cached(terabytes, {})
    assert "\n" not in str(refused.value)
    assert list(cache.iterdir()) == []


def test_a_taken_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"--out .* is there already"):
        synthetic.synthesize(tiny(), {}, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    assert synthetic.synthesize(tiny(), {}, tmp_path / "empty") == tmp_path / "empty"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_type": "unheard_of"}, "knows no model_type 'unheard_of'"),
        ({"hidden_size": -64}, "RuntimeError"),
        ({"quantization_config": {"quant_method": "evil", "bits": 4}}, "evil"),
    ],
)
def test_without_a_shape_nothing_is_made(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        synthetic.synthesize(tiny(**changed), {}, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_of_a_tensor_that_nothing_is_known_of_no_byte_is_written() -> None:
    odd = Tensor(name="a.absmax", dtype="F32", shape=(4,), kind="mlp", weights=0)
    with pytest.raises(ValueError, match=r"^made-up weights have no values for its a\.absmax of type F32$"):
        Filler([odd], {}, 0)
