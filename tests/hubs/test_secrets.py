"""Tokens, and endpoints with credentials in them, stay where they are: everything that is written is searched."""

import json

import pytest

from tests.hubs.client import MODEL, Client
from tests.hubs.servers import Fault, Hub
from tests.hubs.test_fetch import HUBS, Flags, with_code

pytestmark = pytest.mark.engine

MARK = "SeCrEt0123456789"
TOKENS = {
    "HF_TOKEN": f"hf_{MARK}",
    "HUGGING_FACE_HUB_TOKEN": f"hf_{MARK}",
    "MODELSCOPE_API_TOKEN": MARK,
    "NVIDIA_API_KEY": MARK,
    "NCCL_AUTH": MARK,
}


def run(client: Client, hub: Hub, flags: Flags, *more: str, endpoint: str = "", engine: str = "fake") -> list[Flags]:
    """The records of a run with marked secrets, once nothing else that it wrote holds any of them."""
    secret_endpoint = (endpoint or hub.endpoint).replace("//", f"//user{MARK}:password{MARK}@")
    environment = {**TOKENS, "HF_ENDPOINT": secret_endpoint, "MODELSCOPE_ENDPOINT": secret_endpoint}
    command = ["-m", "speed_benchmark", "run", "--engine", engine, "--model_id_or_path", MODEL, "--repeats", "1"]
    command += ["--context_length", "5", "--generate_length", "5", "--outputs_dir", "out", *more]
    done = client.run(
        [*command, *(f"--{flag}" for flag in flags)],
        **environment,
        CUDA_VISIBLE_DEVICES="",
        MODELSCOPE_DOWNLOAD_MAX_RETRIES="1",
    )
    written = {**client.files(), "stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    for name, content in written.items():
        assert MARK.encode() not in content, f"{name}: {content[:2000]!r}"
    assert "Traceback" not in done.stderr
    return [
        json.loads(content) for name, content in written.items() if name.startswith("out") and b"record_id" in content
    ]


@HUBS
def test_a_run_that_goes_well(client: Client, hub: Hub, hub_of: Flags) -> None:
    (record,) = run(client, hub, hub_of)
    assert record["outcome"] == "ok"
    assert record["checkpoint"]["commit"] == hub.repos[MODEL].refs["main"]
    assert record["checkpoint"]["weights_digest"].startswith("sha256:")


@HUBS
@pytest.mark.parametrize("kind", ["token", "html", "network", "busy", "model", "wrong"])
def test_a_run_that_is_refused(client: Client, hub: Hub, hub_of: Flags, kind: str) -> None:
    if kind == "token":
        hub.token = "another"  # noqa: S105 - of no one
    if kind == "model":
        hub.repos.clear()
    if kind in ("html", "busy", "wrong"):
        where = "model-00002" if kind == "wrong" else "models/Qwen"
        hub.faults = [Fault(where, {"busy": "status"}.get(kind, kind), times=10**6, retry_after_s=0)]
    (record,) = run(client, hub, hub_of, endpoint="http://127.0.0.1:9" if kind == "network" else "")
    assert record["outcome"] == "refused"
    assert record["cause"]["stage"] == "fetch"


@pytest.mark.attack("2.2")
def test_code_that_comes_with_a_model_sees_no_token(client: Client, hub: Hub) -> None:
    """Nor is one kept that it finds elsewhere, and says."""
    print_all = "import os; print(dict(os.environ)); print(open(f'/proc/{os.getppid()}/environ').read()); "
    print_all += "raise SystemError('seen')\n"
    with_code(hub, "modeling_own.OwnModel", print_all.encode())
    (record,) = run(client, hub, {}, "--trust_remote_code", engine="transformers")
    assert record["outcome"] == "crashed"
    assert "'HOME': " in "".join(record["cause"]["last_lines"])
