"""Whatever a hub answers, honest or not, ends in one line, in time and in little memory; and the sweep goes on."""

import gzip
import json
import time
from pathlib import Path

import pytest

from tests.faults.sweeps import make_model
from tests.hubs.client import MODEL, Client
from tests.hubs.servers import Fault, Hub, Repo
from tests.hubs.test_fetch import HUBS, Flags
from tests.hubs.test_refusals import said

SMALL_BOUNDS = json.dumps({"MAX_ANSWER_BYTES": 1_000_000, "MAX_ANSWER_S": 2.0, "WINDOW_S": 2.0})
FEW_TRIES = {
    "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1",
    "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1",
    "MODELSCOPE_REPO_TREE_PAGE_TIMEOUT_SECONDS": "2",
    "MODELSCOPE_DOWNLOAD_LOW_SPEED_WINDOW_SECONDS": "2",
}
DEEP = b"[" * 200_000
NAMELESS = {
    "huggingface": [{"type": "file", "oid": "0" * 40, "size": 5, "path": None}],
    "modelscope": {"Data": {"Files": [{"Type": "blob", "Size": "many", "Revision": "0" * 40}]}},
}
GZIP = {"Content-Encoding": "gzip"}
LOOP = {"Location": "/api/v1/models/loop"}


def answers(hub_of: Flags) -> dict[str, Fault]:
    """What a hub may say in place of a listing."""
    nameless = json.dumps(NAMELESS["modelscope" if hub_of else "huggingface"]).encode()
    where = "/repo/files" if hub_of else "/tree/"
    return {
        "redirects to itself": Fault("models", "send", 10**6, 302, headers=LOOP),
        "gzip that is none": Fault(where, "send", 10**6, 200, body=b"no gzip", headers=GZIP),
        "a deep list": Fault(where, "send", 10**6, 200, body=DEEP),
        "a file without a name": Fault(where, "send", 10**6, 200, body=nameless),
        "a list of numbers": Fault(where, "send", 10**6, 200, body=b"[1, 2]"),
        "a number": Fault(where, "send", 10**6, 200, body=b"7"),
        "no end": Fault(where, "endless", 10**6),
        "a bomb": Fault(where, "send", 10**6, 200, body=gzip.compress(bytes(400_000_000), 9), headers=GZIP),
        "a trickle": Fault(where, "drip", 10**6),
    }


@pytest.mark.slow
@pytest.mark.attack("2.1", "2.10")
@HUBS
@pytest.mark.parametrize("answer", answers({}))
def test_a_listing_that_is_none_is_refused(client: Client, hub: Hub, hub_of: Flags, answer: str) -> None:
    hub.faults = [answers(hub_of)[answer]]
    began = time.monotonic()
    refused = client.fetch(environment={"BOUNDS": SMALL_BOUNDS, **FEW_TRIES}, **hub_of)
    hub.go_on.set()
    assert said(refused)
    assert "Traceback" not in refused["said"]
    assert time.monotonic() - began < 30
    assert refused["peak_bytes"] < 300_000_000


@pytest.mark.slow
@pytest.mark.attack("2.1", "2.10")
@HUBS
@pytest.mark.parametrize("kind", ["endless", "drip"])
@pytest.mark.parametrize("file", ["config.json", "model-00002-of-00004.safetensors"])
def test_a_file_without_end_is_refused(client: Client, hub: Hub, hub_of: Flags, kind: str, file: str) -> None:
    """No more of it is kept than was listed."""
    is_large = "model-" in file
    where = f"FilePath={file}" if hub_of else f"GET /{'cdn' if is_large else MODEL}/"
    hub.faults = [Fault(where, kind, 10**6)]
    refused = client.fetch(environment={"BOUNDS": SMALL_BOUNDS, **FEW_TRIES}, **hub_of)
    hub.go_on.set()
    assert said(refused)
    assert max(map(len, client.files().values())) < 1_200_000
    assert hub.sent_bytes < 100_000_000


@pytest.mark.slow
@pytest.mark.attack("2.10")
def test_pages_without_end_are_refused(client: Client, hub: Hub) -> None:
    for body in (b"[]", json.dumps([{"type": "directory", "oid": "0" * 40, "size": 0, "path": "x" * 1000}]).encode()):
        hub.faults = [Fault("/tree/", "send", 10**6, 200, body=body, headers={"Link": '</tree/>; rel="next"'})]
        hub.faults[0].headers["Link"] = f'<{hub.endpoint}/api/models/{MODEL}/tree/main>; rel="next"'
        assert said(client.fetch(environment={"BOUNDS": SMALL_BOUNDS}))


@pytest.mark.slow
@pytest.mark.attack("2.8")
@HUBS
def test_a_repository_of_gguf_files_only(client: Client, hub: Hub, hub_of: Flags) -> None:
    hub.repos[MODEL] = Repo()
    hub.repos[MODEL].add({"README.md": b"# A model\n", "model-q4.gguf": b"GGUF" * 5000}, "main", "master")
    assert "has no config.json" in said(client.fetch(**hub_of))
    assert not hub.asked("gguf")


@pytest.mark.engine
@pytest.mark.attack("2.1")
@HUBS
@pytest.mark.parametrize("answer", ["redirects to itself", "a deep list"])
def test_a_sweep_goes_on_after_a_hub_that_is_none(
    client: Client, hub: Hub, hub_of: Flags, answer: str, tmp_path: Path
) -> None:
    hub.faults = [answers(hub_of)[answer]]
    local = make_model(tmp_path / "local")
    command = ["-m", "speed_benchmark", "run", "--engine", "fake", "--model_id_or_path", f"{MODEL},{local}"]
    command += ["--context_length", "5", "--generate_length", "5", "--repeats", "1", "--outputs_dir", "out"]
    done = client.run([*command, *(f"--{flag}" for flag in hub_of)], CUDA_VISIBLE_DEVICES="", **FEW_TRIES)
    assert "Traceback" not in done.stderr
    records = [json.loads(file.read_bytes()) for file in (client.home / "out").glob("*.json")]
    outcomes = {record["cell"]["model"]["model_id_or_path"]: record["outcome"] for record in records}
    assert outcomes == {MODEL: "refused", str(local): "ok"}


def test_an_interrupt_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from speed_benchmark.cell import Model
    from speed_benchmark.models.hub import download

    def interrupted(_: Model) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_repository", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download.download(Model(model_id_or_path=MODEL), lambda *_: None)
