"""How large the record of a cell becomes, known before it is measured."""

from dataclasses import replace

import pytest

from speed_benchmark.cell import Protocol
from speed_benchmark.record.format import seal, serialize
from speed_benchmark.record.sample import TOKEN_TIME_BYTES
from tests.report import made


@pytest.mark.parametrize(
    ("protocol", "batch_size", "times"),
    [
        (Protocol(), 1, 4 * 80),
        (Protocol(repeats=5, warmups=0), 3, 5 * 3 * 80),
        (Protocol(processes=3), 1, 3 * 4 * 80),
        (Protocol(precision=0.01, repeats=6, max_repeats=30), 1, 31 * 80),
        (Protocol(quick=True), 2, 4 * 2 * 96),
    ],
)
def test_times_of_tokens(protocol: Protocol, batch_size: int, times: int) -> None:
    cell = made.record(batch_size=batch_size).cell
    assert replace(cell, protocol=protocol).token_times == times


def test_a_time_takes_no_more_than_is_reckoned_with() -> None:
    """Of requests of a day, each time to the nanosecond."""
    assert (size(1100) - size(100)) / 1000 <= TOKEN_TIME_BYTES


def size(tokens: int) -> int:
    """Bytes of a record with the times of so many tokens."""
    sample = made.sample(1.0, 1.0)
    times_s = tuple(round(80_000 + number * 1.123456789, 9) for number in range(tokens))
    sequence = sample.sequences[0].model_copy(update={"token_times_s": times_s})
    record = made.record((), samples=(sample.model_copy(update={"sequences": (sequence,)}),))
    return len(serialize(seal(record)))
