"""Stores of records made by hand, and a browser where one is installed."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from tests.report import made


@pytest.fixture(scope="session")
def measured() -> dict[str, Record]:
    return made.measured()


@pytest.fixture(scope="session")
def golden_records() -> list[Record]:
    return made.golden()


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """Writes records to a folder below the test's own and gives the folder."""

    def write(records: Sequence[Record], name: str = "records") -> Path:
        store = Store(tmp_path / name)
        store.open()
        for record in records:
            store.write(record)
        return store.folder

    return write


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium without a window; skipped where none is installed, except in CI."""
    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if path is None:
        message = "no browser is installed: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu")
    flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()
