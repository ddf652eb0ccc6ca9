"""GPUs that are not there."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from speed_benchmark.machine import nvml
from tests.machine.fake_pynvml import FakeNvml


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeNvml]]:
    """Puts a stand-in that answers the given values in the place of NVML."""

    def put(**values: Any) -> FakeNvml:
        fake = FakeNvml(**values)
        monkeypatch.setattr(nvml, "pynvml", fake)
        nvml._ready.cache_clear()
        return fake

    yield put
    nvml._ready.cache_clear()
