"""Many records are read by several processes, with the same result, and none is held."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from speed_benchmark import parallel
from speed_benchmark.errors import UserError
from speed_benchmark.record.format import seal
from speed_benchmark.record.record import Record
from speed_benchmark.report import pool
from speed_benchmark.report.gather import Gathering
from tests.report.made import GENERATE, record


def test_several_processes_find_what_one_does(
    golden_records: list[Record],
    stored: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, again = stored(golden_records), stored(golden_records[:3], "again")
    changed, foreign = min(one.glob("*.json")), one / "aside.json"
    changed.write_text(changed.read_text().replace("H100", "B200"))
    foreign.write_text("[]")
    seen = []
    for files in (10**9, 1):
        monkeypatch.setattr(parallel, "ITEMS_A_PROCESS", files)
        monkeypatch.setattr(parallel, "cores", lambda: 2)
        gathering = Gathering("PATH", [one, again])
        made = list(gathering.each(partial(pool.entry, language="zh")))
        seen.append((made, gathering.status, capsys.readouterr().err))
    alone, together = seen
    assert together == alone
    assert alone[1] == 1
    damaged = f"damaged: {changed}: its content does not match its record_id"
    assert alone[2].splitlines() == [damaged, f"passed over: {foreign}: it is no record"]
    ids = [entry.row.record_id for entry in alone[0]]
    assert len(ids) == len(set(ids)) >= len(golden_records) - 1


def test_what_is_kept_does_not_grow_with_what_was_generated(stored: Callable[..., Path]) -> None:
    base = record()
    times_s = tuple(0.1 + 0.01 * number for number in range(6 * 8 * GENERATE))
    long = base.samples[0].sequences[0].model_copy(update={"token_times_s": times_s})
    sample = base.samples[0].model_copy(update={"sequences": (long,), "duration_s": times_s[-1]})
    records = []
    for seed in range(20):
        cell = replace(base.cell, workload=replace(base.cell.workload, seed=seed))
        records.append(seal(base.model_copy(update={"cell": cell, "cell_id": cell.cell_id, "samples": (sample,) * 7})))
    folder = stored(records)
    one_bytes = max(path.stat().st_size for path in folder.glob("*.json"))
    list(Gathering("PATH", [folder]).each(partial(pool.entry, language="en")))  # what is loaded once
    tracemalloc.start()
    kept = pool.rows(Gathering("PATH", [folder]).each(partial(pool.entry, language="en")))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 20
    assert held < one_bytes


def test_a_folder_without_a_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it holds no record"):
        list(Gathering("PATH", [tmp_path]).records())
    (tmp_path / "a.json").write_text('{"record_id":')
    with pytest.raises(UserError, match=r"none of its \.json files is a sound record, 1 are damaged"):
        list(Gathering("PATH", [tmp_path]).records())
    with pytest.raises(UserError, match="no such folder"):
        Gathering("PATH", [tmp_path / "nowhere"])
