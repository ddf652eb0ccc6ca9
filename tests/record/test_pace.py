"""The pace of a host, as records keep it: held against another one, and the one of a record."""

import pytest
from pydantic import ValidationError

from speed_benchmark.record.machine import Pace, before_and_after, best_pace, pace_difference
from tests.report.made import record

LOOP, LAUNCH = 20e-9, 4e-6


def test_the_largest_difference_of_what_both_have() -> None:
    one = Pace(python_loop_s=LOOP, kernel_launch_s=LAUNCH, graph_launch_s=1e-5)
    other = Pace(python_loop_s=1.02 * LOOP, kernel_launch_s=LAUNCH / 1.07)
    assert pace_difference(one, other) == pytest.approx(0.07)
    assert pace_difference(other, one) == pytest.approx(0.07)
    assert pace_difference(one, one) == 0


def test_nothing_in_common_is_no_difference_at_all() -> None:
    assert pace_difference(Pace(python_loop_s=LOOP), Pace(kernel_launch_s=LAUNCH)) is None
    assert pace_difference(Pace(), Pace()) is None


@pytest.mark.parametrize("time_s", [0.0, -1e-9, 1e-13, float("inf"), float("nan")])
def test_a_pace_takes_time(time_s: float) -> None:
    with pytest.raises(ValidationError):
        Pace(python_loop_s=time_s)


def test_first_and_last_of_each_process_that_has_both() -> None:
    paces = [Pace(process=process, python_loop_s=time_s) for process, time_s in ((0, 1.0), (0, 2.0), (1, 3.0))]
    assert list(before_and_after(paces)) == [(paces[0], paces[1])]
    assert list(before_and_after(())) == []


def test_a_record_has_the_best_of_its_paces() -> None:
    assert record().pace is None
    paces = (
        Pace(python_loop_s=1.0, kernel_launch_s=4.0),
        Pace(python_loop_s=2.0, kernel_launch_s=6.0, graph_launch_s=1.0),
    )
    assert record(host_paces=paces).pace == best_pace(paces) == Pace(python_loop_s=1.0, kernel_launch_s=4.0)
