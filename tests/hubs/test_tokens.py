"""A token for a login goes to the hub that it is for, and to no other host."""

import json

import pytest

from speed_benchmark.models.hub.repository import takes_token
from tests.hubs.client import MODEL, Client
from tests.hubs.servers import Fault, Hub
from tests.hubs.test_fetch import HUBS, Flags, expected_digest

LOG_IN = """
import os, pathlib
from modelscope_hub.config import HubConfig
HubConfig().save_token("of-a-login")
pathlib.Path(os.environ["HF_HOME"]).mkdir()
pathlib.Path(os.environ["HF_HOME"], "token").write_text("of-a-login")
"""
TOKENS = {"HF_TOKEN": "of-the-user", "MODELSCOPE_API_TOKEN": "of-the-user"}


@pytest.mark.slow
@pytest.mark.attack("2.4")
@HUBS
def test_a_login_is_for_the_hub_itself(client: Client, hub: Hub, hub_of: Flags) -> None:
    assert client.run(["-c", LOG_IN]).returncode == 0
    assert client.fetch(**hub_of)["weights_digest"] == expected_digest(hub)
    assert hub.shown == []


@pytest.mark.slow
@pytest.mark.attack("2.4")
@HUBS
def test_a_token_in_the_environment_goes_to_the_mirror_beside_it(client: Client, hub: Hub, hub_of: Flags) -> None:
    assert client.fetch(environment=TOKENS, **hub_of)["weights_digest"] == expected_digest(hub)
    assert any("of-the-user" in shown for shown in hub.shown)


@pytest.mark.slow
@pytest.mark.attack("2.4")
@pytest.mark.parametrize("status", [200, 302])
def test_no_token_follows_a_link_to_another_host(client: Client, hub: Hub, status: int) -> None:
    """Neither a next page, nor a redirect, nor the contents of a large file."""
    other = f"{hub.elsewhere}/api/models/{MODEL}/tree/{hub.repos[MODEL].refs['main']}"
    headers = {"Link": f'<{other}>; rel="next"'} if status == 200 else {"Location": other}
    hub.faults = [Fault("/tree/", "send", 1, status, body=json.dumps([]).encode(), headers=headers)]
    assert client.fetch(environment=TOKENS)["weights_digest"] == expected_digest(hub)
    assert len(hub.asked("/tree/")) == 2
    assert hub.shown
    assert all(shown.startswith("127.0.0.1") for shown in hub.shown)


@pytest.mark.attack("2.4")
@pytest.mark.parametrize(
    ("endpoint", "with_login", "with_variable"),
    [
        ("https://hub.example", True, True),
        ("http://hub.example", False, False),
        ("https://mirror.example", False, True),
        ("http://mirror.example", False, False),
        ("http://10.1.2.3", False, False),
        ("http://localhost:8080", False, True),
        ("http://127.0.0.1:8080", False, True),
        ("http://[::1]:8080", False, True),
        ("https://hub.example.mirror.example", False, True),
    ],
)
def test_which_token_goes_where(
    endpoint: str, *, with_login: bool, with_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUB_TOKEN", raising=False)
    assert takes_token(endpoint, ["hub.example"], ["HUB_TOKEN"]) is with_login
    monkeypatch.setenv("HUB_TOKEN", "hidden")
    assert takes_token(endpoint, ["hub.example"], ["HUB_TOKEN"]) is with_variable
