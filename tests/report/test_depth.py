"""What reports say of decoding at other depths, and of the two figures of memory."""

import re

from speed_benchmark.judge.judge import judged
from speed_benchmark.judge.judgement import Depth, DepthSpeed, Judged
from speed_benchmark.record.record import Record
from speed_benchmark.report.explain import explain
from speed_benchmark.report.rows import Row, row, shown_columns
from speed_benchmark.report.words import words
from tests.report.made import record

SPEEDS = (
    DepthSpeed(context_tokens=8192, decode_tokens_per_s=189.04, low=188.5, high=189.6),
    DepthSpeed(context_tokens=32768, decode_tokens_per_s=171.0, low=165.2, high=176.6),
)
DEPTH = Depth(
    slope_s_per_token=14.5e-9,
    slope_low_s_per_token=12e-9,
    slope_high_s_per_token=17e-9,
    roof_slope_s_per_token=13.3e-9,
    speeds=SPEEDS,
)


def with_depth(depth: Depth) -> Judged:
    """A record of which so much is known."""
    found = judged(record())
    return Judged(record=found.record, judgement=found.judgement.model_copy(update={"depth": depth}))


def shown(found: Row) -> dict[str, str]:
    """Name -> what the columns of details show of a row, where it has something."""
    said = words("en")
    texts = {one.name: one.text(found.values, said) for one in shown_columns([found]) if "details" in one.where}
    return {name: text for name, text in texts.items() if text}


def test_a_row_has_slope_and_speeds_as_ranges() -> None:
    found = row(with_depth(DEPTH), "")
    assert (found.at_8k_tokens_per_s, found.at_32k_tokens_per_s, found.at_128k_tokens_per_s) == (189.04, 171.0, None)
    texts = shown(found)
    assert {name: text for name, text in texts.items() if "slope" in name or name.startswith("at_")} == {
        "slope_s_per_token": "14.5",
        "slope_low_s_per_token": "12.0 to 17.0",
        "roof_slope_s_per_token": "13.3",
        "at_8k_tokens_per_s_low": "188.5 to 189.6",
        "at_32k_tokens_per_s_low": "165.2 to 176.6",
    }
    heading = {one.name: one.heading(words("en")) for one in shown_columns([found])}
    assert heading["slope_s_per_token"].endswith("(ns)")


def test_the_terminal_says_a_point_where_it_is_one_and_else_a_range() -> None:
    lines = [line for line in explain(with_depth(DEPTH)) if "8k" in line]
    assert [re.findall(r"\d[\d.]*k?", line) for line in lines] == [["8k", "189", "32k", "165", "177", "14.5", "13.3"]]
    assert [line for line in explain(with_depth(DEPTH), "zh") if "8k: 189" in line]


def test_a_slope_without_a_speed_is_said_alone() -> None:
    alone = DEPTH.model_copy(update={"speeds": ()})
    assert set(explain(with_depth(alone))) - set(explain(judged(record()))) == {
        words("en")["run.slope"].format(slope="14.5", roof="13.3")
    }


def in_advance(max_batched_tokens: int | None) -> Record:
    """A record on a GPU of an engine that tried itself out with so many tokens; 6 are in its prompt."""
    made = record(gpus=(0,))
    assert made.loaded is not None
    taken = {
        "preallocates": True, "weight_bytes": 1000, "kv_cache_bytes_per_token": 1,
        "activation_peak_bytes": 600, "max_batched_tokens": max_batched_tokens,
    }  # fmt: skip
    return made.model_copy(update={"loaded": made.loaded.model_copy(update=taken)})


def test_the_memory_of_a_report_is_that_as_it_was_started() -> None:
    found = row(judged(in_advance(60)), "")
    cell = in_advance(60).cell
    assert found.memory_bytes == found.as_started_bytes == 1600 + cell.total_tokens
    assert found.minimum_to_run_bytes == 1060 + cell.total_tokens
    unknown = row(judged(in_advance(None)), "")
    assert (unknown.memory_bytes, unknown.minimum_to_run_bytes) == (1600 + cell.total_tokens, None)
