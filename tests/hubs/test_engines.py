"""From an empty cache to a measurement with the real engines, and a single download for both."""

import json
from importlib.util import find_spec

import pytest

from tests.hubs.client import MODEL, Client
from tests.hubs.servers import Hub
from tests.hubs.test_fetch import Flags, expected_digest

pytestmark = pytest.mark.engine


def measure(client: Client, engine: str, *flags: str) -> Flags:
    """The record of a short run on this machine's processor."""
    command = ["-m", "speed_benchmark", "run", "--engine", engine, "--model_id_or_path", MODEL, "--json"]
    command += ["--context_length", "5", "--generate_length", "3", "--repeats", "1", "--sampling", "greedy"]
    done = client.run([*command, "--outputs_dir", "out", *flags], CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stdout + done.stderr
    record: Flags = json.loads(done.stdout)
    return record


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_transformers(client: Client, hub: Hub, source: str) -> None:
    record = measure(client, "transformers", *(["--use_modelscope"] if source == "modelscope" else []))
    assert record["outcome"] == "ok"
    assert record["checkpoint"]["source"] == source
    assert record["checkpoint"]["weights_digest"] == expected_digest(hub)
    assert record["checkpoint"]["commit"] == hub.repos[MODEL].refs["main"]


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_measures_what_was_fetched_before(client: Client, hub: Hub) -> None:
    fetched = client.fetch()
    hub.requests.clear()
    record = measure(client, "vllm", "--enforce_eager", "--engine_core", "inproc", "--max_model_len", "128")
    assert record["outcome"] == "ok"
    assert record["checkpoint"]["weights_digest"] == fetched["weights_digest"]
    assert hub.requests == [f"GET /api/models/{MODEL}"]
