import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from speed_benchmark.engines.vllm import kernels
from speed_benchmark.machine import nvml
from speed_benchmark.record.machine import Gpu

# In the place of FlashInfer, which has no build for the CPU: what is asked of it leaves a mark.
SAMPLING = """
import os
from pathlib import Path

class Sampler:
    mark = Path(os.environ["FLASHINFER_MARK"])
    is_compiled = False

    def build(self, verbose):
        self.mark.write_text(self.mark.read_text() + "built " if self.mark.exists() else "built ")
        if os.environ.get("FLASHINFER_BREAKS"):
            raise RuntimeError("no nvcc")

def gen_sampling_module():
    return Sampler()
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FlashInfer is installed, the cache is empty, and nothing of it is turned off."""
    package = tmp_path / "site" / "flashinfer" / "jit"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "sampling.py").write_text(SAMPLING)
    monkeypatch.syspath_prepend(str(package.parents[1]))
    monkeypatch.setenv("PYTHONPATH", str(package.parents[1]))
    monkeypatch.setenv("FLASHINFER_MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    monkeypatch.setattr(nvml, "describe", lambda gpu: Gpu(index=gpu, name=f"GPU {gpu}", memory_bytes=0))
    return tmp_path / "mark"


def test_the_sampler_is_built_once_for_a_model_of_gpu(mark: Path) -> None:
    build = kernels.building(0)
    assert build
    build()
    assert mark.read_text() == "built "
    assert kernels.building(0) is None
    assert kernels.building(1), "another model of GPU needs its own"


@pytest.mark.usefixtures("mark")
def test_a_build_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHINFER_BREAKS", "1")
    build = kernels.building(0)
    assert build
    build()
    assert kernels.building(0)


def test_what_is_compiled_is_not_compiled_again(mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flashinfer", ModuleType("flashinfer"))
    sampling: Any = ModuleType("flashinfer.jit.sampling")
    sampling.gen_sampling_module = type("Sampler", (), {"is_compiled": True})
    monkeypatch.setitem(sys.modules, "flashinfer.jit", ModuleType("flashinfer.jit"))
    monkeypatch.setitem(sys.modules, "flashinfer.jit.sampling", sampling)
    kernels.main()
    assert not mark.exists()


@pytest.mark.usefixtures("mark")
def test_nothing_is_built_that_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.VARIABLE, "0")
    assert kernels.building(0) is None


def test_nothing_is_built_without_flashinfer() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from speed_benchmark.engines.vllm.kernels import building; print(building(0))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "None\n"
