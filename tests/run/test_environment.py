"""What a worker sees of the environment, and what of it is in a record."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from speed_benchmark.run.environment import is_secret, steering, without_secrets, worker_environment
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.provenance import installed, provenance
from speed_benchmark.run.sweep import _all_gpus
from tests.faults.sweeps import arguments, make_model

SECRETS = (
    *("NVIDIA_API_KEY", "ENGINE_API_KEY", "NCCL_TOKEN", "PYTHON_PASSWORD", "CUDA_SECRET", "XDG_SESSION_TOKEN"),
    *("ENGINE_S3_SECRET", "ENGINE_AUTH", "TORCH_PASSWD", "NCCL_CREDENTIALS", "CUDA_PAT", "OMP_PWD", "LC_PASSWORD"),
    *("TRITON_COOKIE", "MKL_PRIVATE", "ENGINE_API_TOKENS", "ENGINE_AUTHORIZATION", "nccl_token", "ENGINE_PATS"),
)
OTHERS_SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY")
NO_SECRETS = {
    "ENGINE_MAX_TOKENS_PER_EXPERT": "16384",
    "TORCHINDUCTOR_DISABLED_PASSES": "all",
    "ENGINE_PATTERN_MATCH": "1",
    "OMP_PLACES": "{0:4:2}",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True,max_split_size_mb:512",
    "CUDA_DEVICE_MAX_CONNECTIONS": "1",
    "NCCL_IB_HCA": "mlx5_0:1,mlx5_1:1",
    "NVIDIA_TF32_OVERRIDE": "0",
}
SECRET_VALUES = (
    "https://user:password@example.com",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "sk-abcdefghijklmnop0123456789",
    "Bearer abcdefghijklmnop",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
)


@pytest.mark.attack("2.2", "2.5")
@pytest.mark.parametrize("name", [*SECRETS, *OTHERS_SECRETS])
def test_no_secret_reaches_a_worker_or_a_record(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that begins as what steers a library or the engine does."""
    monkeypatch.setenv(name, "hidden")
    assert is_secret(name, "hidden")
    assert "hidden" not in worker_environment((), ("ENGINE_",)).values()
    assert "hidden" not in steering(("ENGINE_",)).values()
    assert "hidden" not in provenance({}, ("ENGINE_",)).environment.values()


@pytest.mark.attack("2.2", "2.5")
@pytest.mark.parametrize("value", SECRET_VALUES)
def test_what_looks_like_a_secret_is_one_whatever_its_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_MODE", value)
    assert "ENGINE_MODE" not in worker_environment((), ("ENGINE_",))
    assert "ENGINE_MODE" not in steering(("ENGINE_",))


@pytest.mark.attack("2.2")
@pytest.mark.parametrize("name", ["PYTHONSTARTUP", "PYTHONBREAKPOINT", "LC_ANYTHING", "NVIDIA_ANYTHING", "XDG_SEAT"])
def test_a_worker_sees_what_is_known_to_be_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "shown")
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    passed = worker_environment(())
    assert name not in passed
    assert passed["PYTHONHASHSEED"] == "0"


def test_what_steers_is_passed_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NO_SECRETS.items():
        monkeypatch.setenv(name, value)
    for seen in (worker_environment((), ("ENGINE_",)), steering(("ENGINE_",))):
        assert seen.items() >= NO_SECRETS.items()


@pytest.mark.attack("2.5")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENGINE_SERVICE_HOST", "10.1.2.3"),
        ("ENGINE_HOST_IP", "node7"),
        ("NCCL_COMM_ID", "10.0.0.1:1234"),
        ("ENGINE_PORT_8000_TCP", "tcp://10.1.2.3:8000"),
        ("NCCL_PEER", "fe80::1"),
        ("NCCL_PEER", "fe80:0:0:0:1:2:3:4"),
        ("ENGINE_OWNER", "somebody@example.com"),
        ("TORCHINDUCTOR_REDIS_HOST", "cache.example.com"),
    ],
)
def test_no_address_is_kept(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert name not in steering(("ENGINE_",))
    assert name in worker_environment((), ("ENGINE_",))


@pytest.mark.attack("2.2")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no key: my-own-secret!", "no key: ***"),
        ("a line of it: second line", "a line of it: ***"),
        ("https://user:password@example.com/x", "https://***@example.com/x"),
        ("{'Authorization': 'Bearer abcdefgh', 'x': 1}", "{'Authorization': '***', 'x': 1}"),
        ("authorization: Basic YTpi", "authorization: ***"),
        ("token hf_abcdefghijklmnopqrst.", "token ***."),
        ("ghp_abcdefghijklmnopqrst and sk-abcdefghijklmnopqrst", "*** and ***"),
        ("hf_hub_download of params-something-long is false", "hf_hub_download of params-something-long is false"),
    ],
)
def test_a_text_without_its_secrets(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "my-own-secret!")
    monkeypatch.setenv("SOME_PRIVATE_PEM", "-----BEGIN-----\nsecond line\n")
    monkeypatch.setenv("SOME_SHORT_KEY", "false")
    assert without_secrets(text) == shown


@pytest.mark.slow
@pytest.mark.attack("2.3")
def test_a_worker_finds_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by asking the hubs' clients, which read what they once wrote below HOME."""
    log_in = "from modelscope_hub.config import HubConfig; HubConfig().save_token('hidden-2')"
    look = "import huggingface_hub as hf, modelscope_hub as ms; print(hf.get_token(), ms.HubApi().legacy.token)"
    for name in ("HF_HOME", "HF_TOKEN", "HF_TOKEN_PATH", "MODELSCOPE_HOME", "MODELSCOPE_API_TOKEN", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("hidden-1")

    def said(code: str, environment: dict[str, str]) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout

    said(log_in, dict(os.environ))
    assert said(look, dict(os.environ)) == "hidden-1 hidden-2\n"
    assert said(look, worker_environment(())) == "None None\n"


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
