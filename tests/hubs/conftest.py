"""A small model on a hub of one's own, and a machine that asks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from speed_benchmark.models import synthetic
from tests.hubs.client import MODEL, NOT_NEEDED, Client
from tests.hubs.servers import Hub, Repo, serve
from tests.shapes import TINY


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small model, its weights in several shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "SHARD_BYTES", 1_100_000)
        folder = synthetic.synthesize(TINY, {"do_sample": False}, tmp_path_factory.mktemp("model") / "tiny")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(checkpoint: dict[str, bytes]) -> Iterator[Hub]:
    """A hub with one model, which has a branch, a tag and an older commit."""
    repo = Repo()
    repo.add({**checkpoint, "generation_config.json": b"{}", **NOT_NEEDED}, "v1")
    repo.add({**checkpoint, **NOT_NEEDED}, "main", "master")
    with serve(Hub(repos={MODEL: repo})) as served:
        yield served


@pytest.fixture
def client(tmp_path: Path, hub: Hub) -> Client:
    """A machine with empty caches that asks `hub`."""
    home = tmp_path / "home"
    home.mkdir()
    return Client(home, {"HF_ENDPOINT": hub.endpoint, "MODELSCOPE_ENDPOINT": hub.endpoint})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many of the things that can happen on a hub were tried, and how many turned out as they should."""
    held, tried = (
        sum("hubs/" in report.nodeid for kind in kinds for report in terminalreporter.stats.get(kind, []))
        for kinds in (("passed",), ("passed", "failed", "error"))
    )
    if tried:
        terminalreporter.write_line(f"hubs: {tried} tried / {held} held")
