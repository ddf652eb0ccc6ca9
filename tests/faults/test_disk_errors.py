"""A disk that fails once, at some of the file operations; `benchmarks/disk_errors.py` lets it fail at every one."""

from pathlib import Path

import pytest

from tests.faults.disk_errors import in_lanes
from tests.faults.tallies import counts

LANES, STEP = 2, 16


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.attack("1.9")
def test_errors_of_the_disk_damage_nothing(tmp_path: Path) -> None:
    total = in_lanes(tmp_path, LANES, STEP)
    counts["disk errors"] = [total["met"], total["injected"]]
    assert total["injected"] >= 8, "half of them in a folder that a killed run has left"
    assert total["met"] == total["injected"], dict(total)
