"""No config of a stranger gets further than it should, and none ends in a traceback."""

from pathlib import Path

import pytest

from tests.models.misshapen import try_all


@pytest.mark.slow
@pytest.mark.attack("2.9", "2.13")
def test_no_changed_config_ends_in_a_traceback(tmp_path: Path) -> None:
    """`benchmarks/fuzz_configs.py` tries ten times as many."""
    tally = try_all(200, seed=1, folder=tmp_path)
    assert tally.counts["refused"] > 50
    assert tally.counts["planned"] > 50
    assert not tally.tracebacks, tally.examples
