"""The pace of a host, as records keep it: held against those of another one."""

import pytest
from pydantic import ValidationError

from speed_benchmark.record.machine import Pace, pace_ratios

LOOP, LAUNCH = 20e-9, 4e-6


def loops(*times: float) -> list[Pace]:
    return [Pace(python_loop_s=LOOP * time) for time in times]


def test_the_ratio_of_the_medians_of_parts_whose_ranges_are_apart() -> None:
    one, other = loops(1.0, 1.01, 1.02), loops(1.1, 1.111, 1.5)
    assert pace_ratios(one, other) == {"python_loop_s": pytest.approx(1.1)}
    assert pace_ratios(other, one) == pace_ratios(one, other)
    assert pace_ratios(loops(1.0), loops(1.3)) == {"python_loop_s": pytest.approx(1.3)}


def test_ranges_that_meet_tell_no_hosts_apart() -> None:
    """As a host whose neighbours come and go: its own paces swing by more than the medians differ in."""
    assert pace_ratios(loops(1.0, 1.0, 1.6), loops(1.5, 1.5, 1.6)) == {}
    assert pace_ratios(loops(1.0), loops(1.0)) == {}


def test_each_part_that_both_have_is_held_alone() -> None:
    one = [Pace(python_loop_s=LOOP, kernel_launch_s=LAUNCH, graph_launch_s=1e-5)]
    other = [Pace(python_loop_s=1.02 * LOOP, kernel_launch_s=LAUNCH / 1.07)]
    assert pace_ratios(one, other) == {
        "python_loop_s": pytest.approx(1.02),
        "kernel_launch_s": pytest.approx(1.07),
    }
    assert pace_ratios([Pace(python_loop_s=LOOP)], [Pace(kernel_launch_s=LAUNCH)]) == {}
    assert pace_ratios([], loops(1.0)) == {}


@pytest.mark.parametrize("time_s", [0.0, -1e-9, 1e-13, float("inf"), float("nan")])
def test_a_pace_takes_time(time_s: float) -> None:
    with pytest.raises(ValidationError):
        Pace(python_loop_s=time_s)
