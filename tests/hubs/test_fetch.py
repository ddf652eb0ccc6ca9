"""From an id to files: resolved once, fetched once, nothing that no engine reads."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.hubs.client import MODEL, NOT_NEEDED, Client
from tests.hubs.servers import Hub, Repo, serve

pytestmark = pytest.mark.slow

HUBS = pytest.mark.parametrize("hub_of", [{}, {"use_modelscope": True}], ids=["huggingface", "modelscope"])
Flags = dict[str, Any]


def commit_of(hub: Hub, ref: str) -> str:
    return hub.repos[MODEL].refs[ref]


def test_three_sources_and_a_folder_give_the_same_weights(client: Client, hub: Hub, tmp_path: Path) -> None:
    with serve(Hub(repos=hub.repos)) as mirror:
        other = Client(tmp_path / "other", {"HF_ENDPOINT": mirror.endpoint})
        other.home.mkdir()
        fetched = [client.fetch(), other.fetch(), client.fetch(use_modelscope=True)]
        assert mirror.asked("model-00001")
    assert [one["source"] for one in fetched] == ["huggingface", "huggingface", "modelscope"]
    assert {one["commit"] for one in fetched} == {commit_of(hub, "main")}
    local = tmp_path / "copy"
    shutil.copytree(fetched[0]["folder"], local)
    fetched.append(client.fetch(str(local)))
    assert fetched[-1]["source"] == "local"
    assert {one["weights_digest"] for one in fetched} == {expected_digest(hub)}
    assert all(one["heavy"] == [] for one in fetched)


def expected_digest(hub: Hub) -> str:
    files = hub.repos[MODEL].commits[commit_of(hub, "main")]
    shards = sorted(name for name in files if name.startswith("model-"))
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in shards]
    assert len(lines) > 1
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def test_made_up_weights_have_a_digest_too(client: Client, hub: Hub, checkpoint: dict[str, bytes]) -> None:
    shape = client.home / "shape"
    shape.mkdir()
    (shape / "config.json").write_bytes(checkpoint["config.json"])
    made = client.fetch(str(shape), weights="synthetic")
    assert made["source"] == "synthetic"
    assert made["weights_digest"] == client.fetch(made["folder"])["weights_digest"]
    assert hub.requests == []


@HUBS
def test_only_what_an_engine_reads_is_fetched(client: Client, hub: Hub, hub_of: Flags) -> None:
    fetched = client.fetch(**hub_of)
    for name in NOT_NEEDED:
        assert not hub.asked(name), name
    there = {path.name for path in Path(fetched["folder"]).iterdir()}
    assert not there & set(NOT_NEEDED)
    assert {"config.json", "generation_config.json", "model.safetensors.index.json"} < there


@HUBS
def test_progress_is_in_bytes_and_comes_to_its_end(client: Client, hub_of: Flags) -> None:
    fetched = client.fetch(**hub_of)
    weights = [step for step in fetched["progress"] if step[0] == "downloading" and step[2] > 100_000]
    done = [step[1] for step in weights]
    assert done == sorted(done)
    assert len(set(done)) > 3
    assert weights[-1][1] == weights[-1][2] == fetched["weight_file_bytes"]


@HUBS
@pytest.mark.parametrize("ref", ["main", "v1", "commit"])
def test_a_revision_is_resolved_to_its_commit(client: Client, hub: Hub, hub_of: Flags, ref: str) -> None:
    repo = hub.repos[MODEL]
    commit = repo.refs["v1" if ref != "main" else "main"]
    name = {"main": "master" if hub_of else "main", "v1": "v1", "commit": commit}[ref]
    fetched = client.fetch(**hub_of, revision=name)
    assert fetched["commit"] == commit
    assert Path(fetched["folder"]).name == commit
    config = Path(fetched["folder"], "generation_config.json").read_bytes()
    assert config == repo.commits[commit]["generation_config.json"]


@HUBS
def test_a_branch_that_moves_while_it_is_fetched_is_one_commit(client: Client, hub: Hub, hub_of: Flags) -> None:
    repo = hub.repos[MODEL]
    before = commit_of(hub, "main")
    fetched = client.fetch(**hub_of)
    repo.add({**repo.commits[before], "generation_config.json": b'{"temperature": 1}'}, "main", "master")
    assert {request for request in hub.requests if "safetensors" in request and before not in request} <= set(
        hub.asked("/cdn/")
    )
    assert fetched["commit"] == before
    assert client.fetch(**hub_of)["commit"] == commit_of(hub, "main")


@HUBS
def test_the_same_run_again_only_asks_for_the_branch(client: Client, hub: Hub, hub_of: Flags) -> None:
    first = client.fetch(**hub_of)
    hub.requests.clear()
    again = client.fetch(**hub_of)
    assert len(hub.requests) == 1
    assert again["weights_digest"] == first["weights_digest"]
    hub.requests.clear()
    pinned = client.fetch(**hub_of, revision=first["commit"])
    assert hub.requests == []
    assert pinned["folder"] == first["folder"]


@HUBS
def test_a_pinned_and_cached_model_needs_no_network(client: Client, hub_of: Flags) -> None:
    first = client.fetch(**hub_of)
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}
    again = client.fetch(environment=nowhere, **hub_of, revision=first["commit"])
    assert again["weights_digest"] == first["weights_digest"]


@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_cached_branch_is_the_last_commit_seen(client: Client, hub: Hub, environment: dict[str, str]) -> None:
    first = client.fetch()
    hub.requests.clear()
    again = client.fetch(environment=environment)
    assert again["commit"] == first["commit"]
    assert hub.requests == []


def test_offline_and_fetched_by_another_program(client: Client, hub: Hub) -> None:
    download = f"from huggingface_hub import snapshot_download; snapshot_download({MODEL!r})"
    assert client.run(["-c", download]).returncode == 0
    hub.requests.clear()
    fetched = client.fetch(environment={"HF_HUB_OFFLINE": "1"})
    assert fetched["weights_digest"] == expected_digest(hub)
    assert hub.requests == []
    shard = Path(fetched["folder"], "model-00001-of-00004.safetensors")
    damage(shard.resolve())
    assert "came damaged" in client.fetch(environment={"HF_HUB_OFFLINE": "1"})["error"]


def damage(file: Path) -> None:
    with file.open("r+b") as content:
        content.seek(-8, os.SEEK_END)
        content.write(b"damaged!")


def test_safetensors_come_before_pickled_weights(client: Client, hub: Hub) -> None:
    only_pickled(hub)
    refused = client.fetch()
    assert "pytorch_model.bin" in refused["error"]
    assert "--allow_pickle" in refused["error"]
    assert not hub.asked("GET /Qwen/Qwen2.5-0.5B-Instruct/resolve/main/pytorch_model.bin")
    assert not hub.asked("/cdn/")
    allowed = client.fetch(allow_pickle=True)
    assert Path(allowed["folder"], "pytorch_model.bin").is_file()
    assert allowed["weight_file_bytes"] == 1_000_000


def only_pickled(hub: Hub) -> None:
    repo = hub.repos[MODEL]
    files = {name: content for name, content in repo.commits[commit_of(hub, "main")].items() if "safetens" not in name}
    hub.repos[MODEL] = Repo()
    hub.repos[MODEL].add({**files, "pytorch_model.bin": b"P" * 1_000_000}, "main", "master")


@HUBS
def test_too_little_disk_is_said_before_anything_large_is_fetched(client: Client, hub: Hub, hub_of: Flags) -> None:
    hub.listed_bytes["model-00001-of-00004.safetensors"] = 10**18
    refused = client.fetch(**hub_of)
    assert "the download needs 1000000000.0 GB" in refused["error"]
    assert hub.sent_bytes < 100_000


@HUBS
def test_code_is_named_before_the_weights_are_fetched(client: Client, hub: Hub, hub_of: Flags) -> None:
    commit = with_code(hub, "modeling_own.OwnModel")
    refused = client.fetch(**hub_of)
    assert "modeling_own.py" in refused["error"]
    assert f"--trust_remote_code --revision {commit}" in refused["error"]
    assert hub.sent_bytes < 100_000
    assert not hub.asked("modeling_own.py")
    allowed = client.fetch(**hub_of, trust_remote_code=True, revision=commit)
    assert allowed["commit"] == commit
    assert Path(allowed["folder"], "modeling_own.py").is_file()
    assert not (client.home / "ran").exists()


@HUBS
def test_code_of_another_repository_is_never_run(client: Client, hub: Hub, hub_of: Flags) -> None:
    with_code(hub, "someone/else--modeling_own.OwnModel")
    refused = client.fetch(**hub_of, trust_remote_code=True)
    assert "code of another repository" in refused["error"]


def with_code(hub: Hub, reference: str, code: bytes = b"open('ran', 'w')\n") -> str:
    repo = hub.repos[MODEL]
    files = repo.commits[commit_of(hub, "main")]
    auto_map = b'{"auto_map": {"AutoModelForCausalLM": "%s"}, ' % reference.encode()
    config = files["config.json"].replace(b"{", auto_map, 1)
    return repo.add({**files, "config.json": config, "modeling_own.py": code}, "main", "master")
