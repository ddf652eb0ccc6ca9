"""What a worker sees of the environment, and what of it is in a record."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from speed_benchmark.run.environment import is_secret, steering, worker_environment
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.provenance import installed, provenance
from speed_benchmark.run.sweep import _all_gpus
from tests.faults.sweeps import arguments, make_model

SECRETS = ("NVIDIA_API_KEY", "ENGINE_API_KEY", "NCCL_TOKEN", "PYTHON_PASSWORD", "CUDA_SECRET", "XDG_SESSION_TOKEN")
OTHERS_SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY")


@pytest.mark.parametrize("name", [*SECRETS, *OTHERS_SECRETS])
def test_no_secret_reaches_a_worker_or_a_record(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that begins as what steers a library or the engine does."""
    monkeypatch.setenv(name, "hidden")
    assert is_secret(name)
    assert "hidden" not in worker_environment((), ("ENGINE_",)).values()
    assert "hidden" not in steering(("ENGINE_",)).values()
    assert "hidden" not in provenance({}, ("ENGINE_",)).environment.values()


def test_every_engine_here_keeps_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    from speed_benchmark.engines import registry

    prefixes = [prefix for name in registry.names() for prefix in registry.settings_class(name).traits.environment]
    assert prefixes
    for prefix in prefixes:
        monkeypatch.setenv(f"{prefix}API_KEY", "hidden")
        monkeypatch.setenv(f"{prefix}LOGGING_LEVEL", "shown")
    passed, kept = worker_environment((), prefixes), steering(prefixes)
    for seen in (passed, kept):
        assert "hidden" not in seen.values()
        assert all(seen[f"{prefix}LOGGING_LEVEL"] == "shown" for prefix in prefixes)


def test_only_the_engine_that_runs_gets_what_steers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_MODE", "fast")
    assert "ENGINE_MODE" not in worker_environment(())
    assert worker_environment((), ("ENGINE_",))["ENGINE_MODE"] == "fast"
    assert "ENGINE_MODE" not in steering()


def test_the_gpus_are_named() -> None:
    assert worker_environment((1, 3))["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert worker_environment(())["CUDA_VISIBLE_DEVICES"] == ""


def test_a_profiler_does_not_stay_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    """`benchmarks/profiler.py` shows on a GPU what this is for."""
    monkeypatch.setenv("TEARDOWN_CUPTI", "0")
    assert worker_environment((0,))["TEARDOWN_CUPTI"] == "1"


def test_what_a_worker_really_has(tmp_path: Path) -> None:
    """Code of a model could send it anywhere."""
    out = tmp_path / "out"
    model = make_model(tmp_path / "m", real_token_s=1.0)
    command = [sys.executable, "-m", "speed_benchmark", *arguments([model], out, lengths="5")]
    environment = os.environ | {"NVIDIA_API_KEY": "hidden-1", "HF_TOKEN": "hidden-2"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "warmup" in line:
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if platform.system() != "Linux" or not children.exists():
        pytest.skip("the environment of other processes can't be read here")
    seen = b"".join(Path(f"/proc/{child}/environ").read_bytes() for child in children.read_text().split())
    process.kill()
    process.wait()
    process.stderr.close()
    assert b"CUDA_VISIBLE_DEVICES=" in seen
    assert b"hidden" not in seen


def test_versions_that_are_installed() -> None:
    found = installed(("pydantic", "no-such-package-at-all"))
    assert list(found) == ["pydantic"]


def test_gpus_that_are_named_need_no_visible_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """--gpus says which: CUDA_VISIBLE_DEVICES may then say anything, with --parallel too."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-00000000")
    assert _all_gpus([LoadGroup((), (3, 1)), LoadGroup((), (2,))]) == [1, 2, 3]
