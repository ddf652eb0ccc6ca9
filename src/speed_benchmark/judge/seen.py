"""What the rules judge: a record, and what was computed from its samples."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from speed_benchmark.judge.judgement import Roofline, Summary
from speed_benchmark.judge.statistics import generation_tokens_per_s, units, whole_requests
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample


@dataclass(frozen=True)
class Seen:
    """A record with its summary and its roofline, None where there is none."""

    record: Record
    summary: Summary | None
    roofline: Roofline | None

    @cached_property
    def requests(self) -> tuple[Sample, ...]:
        """The whole requests, measured or predicted; none without a summary."""
        return tuple(whole_requests(self.record.samples, self.record.cell)) if self.summary else ()

    @cached_property
    def durations_s(self) -> dict[int, list[float]]:
        """Process -> the times of its whole requests, in order."""
        found: dict[int, list[float]] = {}
        for request in self.requests:
            found.setdefault(request.process, []).append(request.duration_s)
        return found

    @cached_property
    def speeds(self) -> tuple[list[float], Literal["repeats", "processes"]]:
        """The speeds that an interval may rest on, and of what they are; none without a summary."""
        if not self.requests:
            return [], "repeats"
        speeds, of_processes = units(self.requests, generation_tokens_per_s)
        return speeds, "processes" if of_processes else "repeats"

    @property
    def is_guess(self) -> bool:
        """Whether a quick measurement of a cell bound by host launch: a host changes its pace within seconds."""
        quick = self.record.cell.protocol.quick
        return quick and self.roofline is not None and self.roofline.bound_by == "host_launch"
