"""A hub that was down is asked again by the same command."""

import pytest

from tests.hubs.client import MODEL, Client
from tests.hubs.servers import Hub

pytestmark = pytest.mark.engine


@pytest.mark.attack("1.4")
def test_a_hub_that_was_down_is_asked_again(client: Client, hub: Hub) -> None:
    out = client.home / "out"
    command = [
        *("-m", "speed_benchmark", "run", "--engine", "fake", "--model_id_or_path", MODEL, "--context_length", "5"),
        *("--generate_length", "4", "--outputs_dir", str(out), "--quiet"),
    ]
    down = client.run(command, HF_ENDPOINT="http://127.0.0.1:9")
    assert down.returncode == 1
    assert "can't reach http://127.0.0.1:9" in down.stdout
    assert not hub.requests
    up = client.run(command)
    assert hub.requests
    assert up.returncode == 0, up.stderr
    assert "1 record passed over: refused" in up.stderr
    assert len(list(out.glob("*.json"))) == 2
