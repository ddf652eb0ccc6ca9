"""A hub that breaks off, is busy, or sends something else: the download goes on or ends in words."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hubs.client import FETCH, MODEL, Client
from tests.hubs.servers import Fault, Hub
from tests.hubs.test_fetch import HUBS, Flags, damage, expected_digest

pytestmark = pytest.mark.slow

SHARD = "model-00002-of-00004.safetensors"
CHUNK_BYTES = 1 << 16
FEW_TRIES = {"MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1"}


def get(hub: Hub, hub_of: Flags, file: str) -> str:
    """How the request for the contents of `file` begins, or for the hub's own interface."""
    if file == "models/Qwen":
        return file
    if hub_of:
        return f"FilePath={file}"
    commit = hub.repos[MODEL].refs["main"]
    return f"GET /cdn/{MODEL}/{commit}/{file}" if "model-" in file else f"GET /{MODEL}/resolve/{commit}/{file}"


@HUBS
@pytest.mark.parametrize("seed", range(4))
def test_a_dropped_connection_goes_on_where_it_was(client: Client, hub: Hub, hub_of: Flags, seed: int) -> None:
    places = random.Random(seed)  # noqa: S311 - places in a file are no secret
    for shard in range(1, 5):
        times, at = places.randrange(1, 3), places.randrange(400_000)
        hub.faults.append(Fault(get(hub, hub_of, f"model-0000{shard}"), "drop", times=times, at=at))
    drops = sum(fault.times for fault in hub.faults)
    fetched = client.fetch(environment={"HF_CHUNK_BYTES": str(CHUNK_BYTES)}, **hub_of)
    assert fetched["weights_digest"] == expected_digest(hub)
    assert not any(fault.times for fault in hub.faults)
    lost_bytes = hub.sent_bytes - fetched["weight_file_bytes"]
    assert lost_bytes < drops * CHUNK_BYTES + 100_000, "what had come was fetched again"


@HUBS
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("where", ["models/Qwen", "generation_config.json", SHARD])
def test_a_busy_hub_is_asked_again_when_it_says(
    client: Client, hub: Hub, hub_of: Flags, status: int, where: str
) -> None:
    hub.faults = [Fault(get(hub, hub_of, where), "status", status=status, retry_after_s=1)]
    began = time.monotonic()
    fetched = client.fetch(**hub_of)
    assert fetched["weights_digest"] == expected_digest(hub)
    assert not hub.faults[0].times
    assert time.monotonic() - began >= 1


@HUBS
@pytest.mark.parametrize("where", ["models/Qwen", "model-"])
def test_a_hub_that_stays_busy_is_said_in_words(client: Client, hub: Hub, hub_of: Flags, where: str) -> None:
    hub.faults = [Fault(get(hub, hub_of, where), "status", times=10**6, status=503, retry_after_s=0)]
    refused = client.fetch(environment=FEW_TRIES, **hub_of)
    assert "goes on answering 503" in refused["error"]
    hub.faults = []
    assert client.fetch(**hub_of)["weights_digest"] == expected_digest(hub)


@HUBS
@pytest.mark.parametrize("file", [SHARD, "generation_config.json"])
@pytest.mark.parametrize("kind", ["short", "wrong"])
def test_a_file_that_is_not_what_was_listed_is_never_measured(
    client: Client, hub: Hub, hub_of: Flags, kind: str, file: str
) -> None:
    at = 5 if "json" in file else 5000
    hub.faults = [Fault(file, kind, times=10**6, at=at)]
    refused = client.fetch(environment=FEW_TRIES, **hub_of)
    assert "error" in refused, refused
    assert "run it again" in refused["error"]
    hub.faults = []
    assert client.fetch(**hub_of)["weights_digest"] == expected_digest(hub)


@HUBS
def test_a_file_that_is_short_once_is_fetched_again(client: Client, hub: Hub, hub_of: Flags) -> None:
    hub.faults = [Fault(get(hub, hub_of, SHARD), "short", at=5000)]
    assert client.fetch(**hub_of)["weights_digest"] == expected_digest(hub)


@HUBS
def test_a_file_that_is_damaged_on_disk_is_found_and_fetched_again(client: Client, hub: Hub, hub_of: Flags) -> None:
    first = client.fetch(**hub_of)
    damage(Path(first["folder"], SHARD).resolve())
    refused = client.fetch(**hub_of, revision=first["commit"])
    assert f"{SHARD} came damaged" in refused["error"]
    hub.requests.clear()
    assert client.fetch(**hub_of, revision=first["commit"])["weights_digest"] == expected_digest(hub)
    assert hub.asked(SHARD)
    assert not hub.asked("model-00001")


@HUBS
def test_a_killed_download_leaves_nothing_that_is_taken_for_whole(client: Client, hub: Hub, hub_of: Flags) -> None:
    hub.faults = [Fault(get(hub, hub_of, SHARD), "stall", at=5000)]
    asked = json.dumps({"model_id_or_path": MODEL, **hub_of})
    download = subprocess.Popen([sys.executable, "-c", FETCH, asked], env=client.variables(), stdout=subprocess.DEVNULL)
    waited = time.monotonic() + 60
    while hub.faults[0].times and time.monotonic() < waited:
        time.sleep(0.05)
    time.sleep(0.5)
    download.kill()
    download.wait()
    hub.go_on.set()
    assert client.fetch(**hub_of)["weights_digest"] == expected_digest(hub)
