"""Sweeps that are killed at any moment lose nothing, and go on where they were."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.tallies import counts

pytestmark = pytest.mark.engine

LANES = 2
KILLS = 100
BAD = ("lost", "unreadable", "run twice", "missing", "missing rows", "processes left", "not finished")


def lanes(kind: str, folder: Path, arguments: list[tuple[int, int]]) -> Counter[str]:
    """The counts of some lanes at once."""
    running = []
    for number, (first, second) in enumerate(arguments):
        (folder / str(number)).mkdir()
        command = [
            sys.executable,
            "-m",
            "tests.faults.kill_lane",
            kind,
            str(folder / str(number)),
            str(first),
            str(second),
        ]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]))
    total: Counter[str] = Counter()
    for process in running:
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0
        total.update(json.loads(output))
    return total


def check(name: str, total: Counter[str]) -> None:
    print(name, dict(total))  # noqa: T201
    bad = {what: total[what] for what in BAD if total[what]}
    counts[name] = [total["kills"] - sum(bad.values()), total["kills"]]
    assert not bad


def test_parent_killed_at_random_moments(tmp_path: Path) -> None:
    total = lanes("random", tmp_path, [(seed, KILLS // LANES) for seed in range(LANES)])
    assert total["kills"] >= KILLS
    check("kills at random moments", total)


def test_parent_killed_at_each_operation_of_the_store(tmp_path: Path) -> None:
    total = lanes("operations", tmp_path, [(lane, LANES) for lane in range(LANES)])
    assert total["kills"] > 3 * 2 * 8, "three cells, two files each, and at least eight operations for a file"
    check("kills at each file operation", total)


def test_parent_killed_at_each_operation_on_parts(tmp_path: Path) -> None:
    """What was finished of a cell when its run was killed is in a record after the next one."""
    total = lanes("parts", tmp_path, [(lane, LANES) for lane in range(LANES)])
    assert total["kills"] > 3 * 8, "a part, a record and its row"
    assert total["parts"] > 8, "from when the part is written to when the record is"
    check("kills at each file operation on parts", total)
