"""Records whose figures nobody can have measured are damaged; whatever passes for a record goes through all verbs."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import canonical_json
from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Verdict
from speed_benchmark.record.format import DamagedRecordError, parse
from speed_benchmark.record.record import Record
from speed_benchmark.report.samples import sample_rows
from tests.record.forgeries import USES, Where, sealed, shortened, try_all
from tests.report import made

RESULTS = Path(__file__).parents[2] / "results"
LARGE = 2**53


@pytest.fixture(scope="module")
def true() -> list[Record]:
    """Records of a GPU and of processors, and some made by hand."""
    files = sorted(RESULTS.rglob("*.json"))[::12]
    return [*(shortened(parse(file.read_bytes())) for file in files), *made.measured().values()]


@pytest.fixture(scope="module")
def full(true: Sequence[Record]) -> str:
    """The evidence of one that has peaks, costs, readings and a profile."""
    record = next(
        one for one in true if one.device_peaks and one.token_cost and one.profile and one.samples[0].readings
    )
    return canonical_json(record.model_dump(mode="json", exclude={"record_id"}))


def changed(evidence: str, where: Where, value: Any) -> bytes:
    """The file of this evidence with another value."""
    known = json.loads(evidence)
    place = known
    for part in where[:-1]:
        place = place.setdefault(part, {}) if isinstance(part, str) else place[part]
    place[where[-1]] = value
    return sealed(known)


def path(where: str) -> Where:
    return tuple(int(part) if part.isdecimal() else part for part in where.split("."))


def short(value: object) -> str:
    return str(value)[:40]


@pytest.mark.slow
@pytest.mark.attack("1.15")
def test_no_change_of_values_raises_anything_but_damaged(true: Sequence[Record]) -> None:
    """benchmarks/fuzz_records.py tries twenty times as many."""
    tally = try_all(true, 1000, seed=1, uses=USES.keys() - {"page"})
    assert tally.counts["damaged"] > 300
    assert tally.counts["parsed"] > 150
    assert not tally.tracebacks, tally.examples


@pytest.mark.attack("1.15", "1.14")
@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("device_peaks.flops_per_s", 0),
        ("device_peaks.flops_per_s", 5e-324),
        ("device_peaks.bandwidths", []),
        ("device_peaks.bandwidths", [[0, 1e9]]),
        ("device_peaks.bandwidths", [[1024, 0.0]]),
        ("token_cost.devices_at_once", 0),
        ("token_cost.weight_bytes", 0),
        ("token_cost.weight_bytes", 10**400),
        ("loaded.kv_cache_block_tokens", 0),
        ("loaded.weight_bytes", -1),
        ("loaded.weight_bytes", LARGE + 1),
        ("loaded.rope", "a" * 300_000),
        ("machine.memory_bytes", 10**400),
        ("machine_before.unix_s", 1e308),
        ("machine_before.gpus.0.power_w", 1e308),
        ("profile.device_busy_share", 1.5),
        ("samples.0.duration_s", 1e308),
        ("samples.0.process", -1),
        ("samples.0.sequences.0.token_times_s.3", -1e308),
        ("samples.0.sequences.0.prompt_tokens", 10**25),
        ("samples.0.sequences.0.output_digest", "md5:1"),
        ("samples.0.readings.other_cores.mean", 1e300),
        ("sampling.temperature", -1.0),
        ("sampling.top_p", 0.0),
        ("sampling.top_p", 5.0),
        ("sampling.repetition_penalty", 0.0),
        ("audit", {"repeated_s": [], "distinct_s": [1.0]}),
        ("audit", {"repeated_s": [1.0], "distinct_s": [-1.0]}),
        ("checkpoint.weights_digest", "sha256:x"),
        ("cell.workload.seed", 10**25),
        ("cell.protocol.max_seconds", "@1e400@"),
        ("cell.settings.options", {"a": float("nan")}),
        ("cell.settings.options", {"a": 10**25}),
        ("created_at", "yesterday"),
        ("created_at", "2026-01-02"),
        ("created_at", "2026-01-02T03:04:05"),
        ("created_at", "2026-01-02T03:04:05+02:00"),
        ("created_at", "9999-12-31T23:59:59+00:00"),
        ("created_at", "1969-12-31T23:59:59+00:00"),
    ],
    ids=short,
)
def test_what_nobody_can_have_measured_is_damaged(full: str, where: str, value: Any) -> None:
    with pytest.raises(DamagedRecordError):
        parse(changed(full, path(where), value))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("samples.0.duration_s", -1e9),  # a clock that was set back
        ("samples.0.started_at_s", 0.0),  # a virtual clock
        ("samples.0.started_at_unix_s", 0.0),
        ("samples.0.sequences.0.token_times_s.3", -0.5),
        ("samples.0.sequences.0.token_times_s", []),
        ("samples.0.memory.host_peak_rss_bytes", 0),
        ("samples.0.memory.device_used_bytes", LARGE),
        ("samples.0.readings.energy", {"source": "counter", "total_joules": -1.0}),  # a counter that began anew
        ("load_s", 0.0),
        ("loaded.weight_bytes", 0),
        ("machine.cores", 0),
        ("machine.memory_bytes", 0),  # a driver that has stopped to answer
        ("machine_before.gpus.0.temperature_c", 2**32),
        ("machine_before.gpus.0.power_w", None),
        ("profile.device_busy_share", 0.0),
        ("cause", {"message": "", "exit_status": -(2**31)}),
        ("created_at", "5138-01-01T00:00:00+00:00"),
        ("provenance.command", ["a" * 131_072]),
    ],
    ids=short,
)
def test_what_a_machine_gone_wrong_may_show_is_a_record(full: str, where: str, value: Any) -> None:
    """It was measured, so it is stored; what is wrong with it is for the rules to say."""
    assert judge(parse(changed(full, path(where), value))).verdict in Verdict


def test_no_time_is_no_speed(full: str) -> None:
    """Less than what times are rounded to is nothing to divide by."""
    for where in ("samples.0.duration_s", "samples.0.sequences.0.token_times_s.0"):
        short = parse(changed(full, path(where), 5e-324))
        assert judge(short).summary is None
        assert next(sample_rows([short])).sequence_generation_tokens_per_s != math.inf
