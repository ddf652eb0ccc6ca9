"""A hub, or a model on it, that would have files written elsewhere."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.hubs.client import FETCH, MODEL, Client
from tests.hubs.servers import Fault, Hub
from tests.hubs.test_fetch import HUBS, Flags, expected_digest

pytestmark = pytest.mark.slow

ELSEWHERE = (
    "../../../../../escaped.json",
    "/tmp/escaped.json",  # noqa: S108 - nothing is written there
    "..\\escaped.json",
    "config.json/../../escaped.json",
    "-escaped.json",
    "esc\naped.json",
    "esc*aped.json",
    "~escaped.json",
    ".escaped.json",
    "escaped.py",
)


@HUBS
def test_files_that_are_listed_elsewhere_are_not_fetched(client: Client, hub: Hub, hub_of: Flags) -> None:
    repo = hub.repos[MODEL]
    files = repo.commits[repo.refs["main"]]
    repo.add({**files, **dict.fromkeys(ELSEWHERE, b"{}")}, "main", "master")
    fetched = client.fetch(**hub_of)
    assert fetched["weights_digest"] == expected_digest(hub)
    assert not hub.asked("aped")
    assert not [name for name in client.files() if "aped" in name]
    roots = {name.split("/")[0] for name in client.files()}
    assert roots <= {"cache", "hf", "modelscope", ".modelscope"}


@HUBS
def test_an_index_on_the_hub_that_names_files_elsewhere(client: Client, hub: Hub, hub_of: Flags) -> None:
    repo = hub.repos[MODEL]
    files = repo.commits[repo.refs["main"]]
    index = b'{"weight_map": {"a": "../../../escaped.safetensors"}}'
    repo.add({**files, "model.safetensors.index.json": index}, "main", "master")
    assert "which is no file of its own folder" in client.fetch(**hub_of)["error"]


@HUBS
@pytest.mark.parametrize("commit", ["../../../../escaped", "main", "", "0" * 39 + "G", "0" * 64])
def test_a_commit_that_is_none(client: Client, hub: Hub, hub_of: Flags, commit: str) -> None:
    hub.commit = commit or "x" * 1000
    assert "which is no commit" in client.fetch(**hub_of)["error"]
    assert not [name for name in client.files() if "escaped" in name]


@HUBS
@pytest.mark.parametrize("size", [-1, 0, 10**9])
def test_sizes_that_are_not_true(client: Client, hub: Hub, hub_of: Flags, size: int) -> None:
    hub.listed_bytes["config.json"] = size
    assert "error" in client.fetch(environment={"MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1"}, **hub_of)


@HUBS
def test_a_cache_that_cannot_be_written(client: Client, hub_of: Flags) -> None:
    (client.home / "file").write_text("in the way")
    caches = {"HF_HOME": str(client.home / "file"), "MODELSCOPE_CACHE": str(client.home / "file")}
    assert "error" in client.fetch(environment=caches, **hub_of)


@pytest.mark.attack("2.10")
@HUBS
@pytest.mark.parametrize("kind", ["stall", "drip"])
def test_an_interrupt_ends_a_download_at_once(client: Client, hub: Hub, hub_of: Flags, kind: str) -> None:
    hub.faults = [Fault("model-00002" if hub_of else "GET /cdn/", kind, at=70_000)]
    asked = json.dumps({"model_id_or_path": MODEL, **hub_of})
    download = subprocess.Popen(
        [sys.executable, "-c", FETCH, asked],
        env=client.variables(HF_HUB_DOWNLOAD_TIMEOUT="2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while hub.faults[0].times:
        time.sleep(0.05)
    time.sleep(0.5)
    download.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert download.wait(30) != 0
    assert time.monotonic() - began < 10
    hub.go_on.set()
