"""This version judges the records of schema 1 as that schema's own rules did: the same figures, findings, verdicts."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.judge.judge import judge
from speed_benchmark.record.format import parse

RENAMED = {
    "likeness": "autocorrelation",
    "two_timings": "bimodal",
    "binds": "bound_by",
    "decode_bandwidth_share": "mbu",
    "prefill_matrix_share": "mfu",
    "fastest_share": "highest_utilization",
    "host": "host_launch",
    "arithmetic": "compute",
}

with zipfile.ZipFile(Path(__file__).parents[1] / "record" / "schema1.zip") as archive:
    FIXTURES = {name: archive.read(name) for name in archive.namelist()}


def assert_same(old: Any, new: Any) -> None:
    """Every figure of `old` is in `new`; the last digits may be another build's rounding."""
    if isinstance(old, dict):
        for key, value in old.items():
            assert_same(value, new[RENAMED.get(key, key)])
    elif isinstance(old, float):
        assert new == pytest.approx(old, rel=1e-9)
    else:
        assert new == RENAMED.get(old, old)


@pytest.mark.parametrize("name", FIXTURES)
def test_the_judgement_is_the_same(name: str) -> None:
    old, new = json.loads(FIXTURES[name]), judge(parse(FIXTURES[name])).model_dump(mode="json")
    assert new["verdict"] == old["verdict"]
    said = [(RENAMED.get(finding["code"], finding["code"]), finding["severity"]) for finding in old["findings"]]
    assert [(finding["code"], finding["severity"]) for finding in new["findings"]] == said
    for part in ("summary", "roofline"):
        assert_same(old.get(part), new[part])
