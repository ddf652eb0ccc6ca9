"""What the rules judge: a record, and what was computed from its samples."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from speed_benchmark.judge.judgement import Paces, Roofline, StepSplit, Summary
from speed_benchmark.judge.pace import paces, quiet_gap_s, quiet_tokens_per_s
from speed_benchmark.judge.statistics import generation_tokens_per_s, units, whole_requests
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample


@dataclass(frozen=True)
class Seen:
    """A record with its summary, its roofline and the split of its step, None where there is none."""

    record: Record
    summary: Summary | None
    roofline: Roofline | None
    step: StepSplit | None = None

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
        speeds, of_processes = units(self.requests, list(map(generation_tokens_per_s, self.requests)))
        return speeds, "processes" if of_processes else "repeats"

    @cached_property
    def paces(self) -> Paces | None:
        """The two paces of decoding, where requests that were measured whole show two."""
        return None if self.record.cell.protocol.quick else paces(self.requests)

    @cached_property
    def quiet_gaps_s(self) -> tuple[float | None, ...]:
        """The time of a token at the quiet pace of each request, None of one that is too short."""
        return tuple(map(quiet_gap_s, self.requests))

    @cached_property
    def quiet_tokens_per_s(self) -> float | None:
        """The decode speed at the quiet pace, of requests that were measured whole."""
        return None if self.record.cell.protocol.quick else quiet_tokens_per_s(self.requests, self.quiet_gaps_s)

    @property
    def is_guess(self) -> bool:
        """Whether a quick measurement of a cell bound by host launch: a host changes its pace within seconds."""
        quick = self.record.cell.protocol.quick
        return quick and self.roofline is not None and self.roofline.bound_by == "host_launch"
