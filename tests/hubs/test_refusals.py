"""What a user reads when a hub does not give the model: one line, with what to do."""

import pytest

from tests.hubs.client import MODEL, Client
from tests.hubs.servers import Fault, Hub
from tests.hubs.test_fetch import HUBS, Flags

pytestmark = pytest.mark.slow


def said(answer: Flags) -> str:
    error = str(answer["error"])
    assert error.isprintable()
    assert len(error) < 500
    return error


@HUBS
def test_no_such_model_names_near_ones(client: Client, hub_of: Flags) -> None:
    error = said(client.fetch("Qwen/Qwen2.5-0.5-Instruct", **hub_of))
    assert "no model Qwen/Qwen2.5-0.5-Instruct on http://127.0.0.1" in error
    assert "near names: Qwen/Qwen2.5-" in error


@HUBS
def test_no_such_revision(client: Client, hub_of: Flags) -> None:
    assert f"{MODEL} on http://127.0.0.1" in said(client.fetch(**hub_of, revision="v7"))
    assert "has no revision " + "0" * 40 in said(client.fetch(**hub_of, revision="0" * 40))


@HUBS
def test_a_gated_model_says_how_to_log_in(client: Client, hub: Hub, hub_of: Flags) -> None:
    hub.repos[MODEL].gated = True
    error = said(client.fetch(**hub_of))
    assert "is gated: accept its terms" in error
    assert ("set MODELSCOPE_API_TOKEN" if hub_of else "set HF_TOKEN") in error
    token = {"HF_TOKEN": "hf_right", "MODELSCOPE_API_TOKEN": "hf_right"}
    assert "error" not in client.fetch(environment=token, **hub_of)


@HUBS
def test_a_bad_token(client: Client, hub: Hub, hub_of: Flags) -> None:
    hub.token = "right"  # noqa: S105 - of no one
    token = {"HF_TOKEN": "hf_wrong", "MODELSCOPE_API_TOKEN": "hf_wrong"}
    error = said(client.fetch(environment=token, **hub_of))
    assert "refuses the token" in error
    assert ("MODELSCOPE_API_TOKEN" if hub_of else "HF_TOKEN") in error
    assert "hf_wrong" not in error


@HUBS
def test_no_network(client: Client, hub_of: Flags) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}
    error = said(client.fetch(environment=nowhere, **hub_of))
    assert "can't reach http://127.0.0.1:9" in error
    for cure in ("ENDPOINT", "--use_modelscope", "a local folder", "--weights synthetic"):
        assert cure in error


def test_offline_and_not_cached(client: Client) -> None:
    assert "HF_HUB_OFFLINE is set" in said(client.fetch(environment={"HF_HUB_OFFLINE": "1"}))
    pinned = client.fetch(environment={"HF_HUB_OFFLINE": "1"}, revision="0" * 40)
    assert "HF_HUB_OFFLINE is set" in said(pinned)


@HUBS
@pytest.mark.parametrize("where", ["models/Qwen", "config.json"])
def test_a_hub_that_answers_html(client: Client, hub: Hub, hub_of: Flags, where: str) -> None:
    where = f"FilePath={where}" if hub_of and "json" in where else where
    hub.faults = [Fault(where, "html", times=10**6)]
    error = said(client.fetch(environment={"MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1"}, **hub_of))
    if where == "models/Qwen" or not hub_of:
        assert "not as a hub does" in error
    else:
        assert "comes damaged" in error


@HUBS
@pytest.mark.parametrize("name", ["a/b/c", "Qwen/../x", "http://example.com/x", "Qwen/x\ny", "", "Qwen/" + "x" * 500])
def test_what_is_no_id_is_not_asked_for(client: Client, hub: Hub, hub_of: Flags, name: str) -> None:
    if name:
        assert "no id of a model" in said(client.fetch(name, **hub_of))
    for revision in ("../../x", "a//b", "-x", "x\ny"):
        if not name:
            assert "is no revision" in said(client.fetch(**hub_of, revision=revision))
    assert hub.requests == []


@pytest.mark.parametrize("missing", ["huggingface_hub", "modelscope_hub"])
def test_a_client_that_is_not_installed(client: Client, missing: str) -> None:
    (client.home / f"{missing}.py").write_text("raise ModuleNotFoundError('gone', name=__name__)")
    flags: Flags = {"use_modelscope": True} if missing == "modelscope_hub" else {}
    error = said(client.fetch(environment={"PYTHONPATH": str(client.home)}, **flags))
    assert f"{missing} is not installed" in error


@pytest.mark.attack("1.34")
def test_made_up_weights_and_a_cache_that_cannot_be_written(client: Client, checkpoint: dict[str, bytes]) -> None:
    shape = client.home / "shape"
    shape.mkdir()
    (shape / "config.json").write_bytes(checkpoint["config.json"])
    (client.home / "file").write_text("in the way")
    cache = {"XDG_CACHE_HOME": str(client.home / "file")}
    error = said(client.fetch(str(shape), environment=cache, weights="synthetic"))
    assert "Not a directory" in error
    assert "XDG_CACHE_HOME" in error
    assert str(client.home / "file") in error
