"""What a quick measurement predicts, how sure it is, and windows that nobody can have measured."""

from dataclasses import replace
from statistics import fmean

import pytest

from speed_benchmark.cell import MAX_TOKENS, Workload
from speed_benchmark.judge.judge import judged
from speed_benchmark.judge.judgement import Quantity
from speed_benchmark.judge.quick import MODEL_ERROR, predict
from speed_benchmark.judge.statistics import (
    MOST_PREDICTED,
    decode_tokens_per_s,
    generation_tokens_per_s,
    student_half_width,
    summarize,
    whole_requests,
)
from tests.judge.judging import Make, summary_of
from tests.judge.stored import stored
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


def test_the_interval_holds_the_error_of_the_prediction(fake_record: Make) -> None:
    """What is measured in the windows, and not predicted from them, keeps its own."""
    requests = {number: (0.1 + 0.001 * (number // 2 % 3), 0.01) for number in range(14)}  # start, end, start, ...
    quick = fake_record(protocol={"repeats": 6, "quick": True}, requests=requests)
    summary = summary_of(quick)
    predicted = whole_requests(quick.record.samples, quick.record.cell)
    for name, values in (
        ("generation_tokens_per_s", [generation_tokens_per_s(request) for request in predicted]),
        ("decode_tokens_per_s", [decode_tokens_per_s(request) for request in predicted]),
        ("duration_s", [request.duration_s for request in predicted]),
    ):
        quantity = getattr(summary, name)
        half = float(student_half_width(values, 0.95)) + MODEL_ERROR * quantity.mean
        assert quantity.interval.high - quantity.mean == pytest.approx(half)
        assert quantity.mean - quantity.interval.low == pytest.approx(half)
    first = summary.time_to_first_token_s
    assert first.interval is not None
    values_s = [sample.first_token_s for sample in quick.record.samples if sample.window == "start"]
    assert first.interval.high - first.mean == pytest.approx(float(student_half_width(values_s, 0.95)))


def test_stored_predictions_are_near_what_was_measured_beside_them() -> None:
    """Two quick and two full measurements of a cell that the device paces, of other code than this."""
    speeds: dict[bool, list[Quantity]] = {
        quick: [
            summary_of(judged(record)).generation_tokens_per_s
            for record in stored("vllm", 6144, model="Qwen2.5-7B-Instruct", quick=quick)
        ]
        for quick in (True, False)
    }
    assert (len(speeds[True]), len(speeds[False])) == (2, 4)
    truth = fmean(quantity.mean for quantity in speeds[False])
    assert fmean(quantity.mean for quantity in speeds[True]) == pytest.approx(truth, rel=0.0015)
    for quantity in speeds[True]:
        assert quantity.interval is not None
        assert quantity.interval.low < truth < quantity.interval.high
