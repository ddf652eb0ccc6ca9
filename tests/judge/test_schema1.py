"""Records of schema 1 come through with their figures, and with the findings whose rules are as they were."""

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


# Whether a figure is known well enough is judged anew, and what binds a cell is told from more than one share.
REJUDGED = {"few_repeats", "wide_interval", "wide_spread", "precision_not_reached", "predicted", "two_paces"}
OF_REPEATS = {"mean", "minimum", "maximum", "stdev"}


def assert_same(old: Any, new: Any) -> None:
    """Every figure of `old` is in `new`; the last digits may be another build's rounding."""
    if isinstance(old, dict):
        for key, value in old.items():
            assert_same(value, new[RENAMED.get(key, key)])
    elif isinstance(old, float):
        assert new == pytest.approx(old, rel=1e-9)
    else:
        assert new == RENAMED.get(old, old)


def kept(summary: dict[str, Any]) -> dict[str, Any]:
    """The quantities of a summary without their intervals, but for the speed of reading a prompt of one token."""
    quantities = {name: value for name, value in summary.items() if isinstance(value, dict) and "mean" in value}
    quantities.pop("prefill_tokens_per_s", None)
    return {name: {key: value[key] for key in OF_REPEATS if key in value} for name, value in quantities.items()}


@pytest.mark.parametrize("name", FIXTURES)
def test_the_figures_are_the_same(name: str) -> None:
    old, record = json.loads(FIXTURES[name]), parse(FIXTURES[name])
    new = judge(record).model_dump(mode="json")
    before = {(RENAMED.get(one["code"], one["code"]), one["severity"]) for one in old["findings"]}
    found = {(one["code"], one["severity"]) for one in new["findings"]}
    assert {one for one in before if one[0] not in REJUDGED} <= found
    if not record.cell.protocol.quick and old.get("summary"):
        assert_same(kept(old["summary"]), new["summary"])
    if old.get("roofline") and not record.cell.protocol.quick:
        assert_same({key: value for key, value in old["roofline"].items() if key != "binds"}, new["roofline"])
