"""Windows of a quick measurement that nobody can have measured predict nothing."""

from dataclasses import replace

import pytest

from speed_benchmark.cell import MAX_TOKENS, Workload
from speed_benchmark.judge.quick import predict
from speed_benchmark.judge.statistics import MOST_PREDICTED, summarize
from tests.judge.test_statistics import WINDOW_CELL, window

EVEN = [2.0] * 20


@pytest.mark.attack("1.15")
def test_a_pace_that_leads_to_no_time() -> None:
    """The gaps get so much shorter that the last token comes before the first."""
    assert predict(window([*EVEN, 9.0]), window([*EVEN, -90.0]), WINDOW_CELL) is None


@pytest.mark.attack("1.15")
@pytest.mark.parametrize("generate_length", [1, 5, 21])
def test_an_output_no_longer_than_its_windows(generate_length: int) -> None:
    cell = replace(WINDOW_CELL, workload=Workload(context_length=7, generate_length=generate_length))
    assert predict(window(EVEN), window(EVEN), cell) is None


@pytest.mark.attack("1.15", "1.16")
def test_more_tokens_than_memory_holds_are_not_predicted() -> None:
    """A small file must not make a reader hold gigabytes."""
    cell = replace(WINDOW_CELL, workload=Workload(context_length=7, generate_length=MAX_TOKENS))
    pair = [window(EVEN).model_copy(update={"window": name}) for name in ("start", "end")]
    assert summarize(pair * (MOST_PREDICTED // MAX_TOKENS + 1), cell) is None
