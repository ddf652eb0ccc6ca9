"""What a sweep remembers of a record on disk, so that its memory does not grow with what is measured."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from speed_benchmark.judge.judgement import Judged, Verdict
from speed_benchmark.record.outcome import Outcome


@dataclass(frozen=True)
class Stored:
    """A record in the store. `codes` are those of the findings that make its verdict less than valid.

    `is_new` says whether this run measured it.
    """

    cell_id: str
    record_id: str
    path: Path
    created_at: str
    outcome: Outcome
    verdict: Verdict
    codes: tuple[str, ...]
    is_new: bool

    @property
    def label(self) -> str:
        """How it ended, in a word; for a doubtful or invalid one also why."""
        if self.outcome is not Outcome.OK:
            return str(self.outcome)
        return f"{self.verdict}: {', '.join(self.codes)}" if self.codes else str(self.verdict)

    @property
    def measured_at(self) -> datetime:
        """When it was made, in local time."""
        return datetime.fromisoformat(self.created_at).astimezone()


def of_judged(judged: Judged, path: Path, *, is_new: bool) -> Stored:
    """What is to be remembered of a record that was judged."""
    record, findings = judged.record, judged.judgement.findings
    return Stored(
        cell_id=record.cell_id,
        record_id=record.record_id,
        path=path,
        created_at=record.created_at,
        outcome=record.outcome,
        verdict=judged.judgement.verdict,
        codes=tuple(dict.fromkeys(one.code for one in findings if one.doubts_speed)),
        is_new=is_new,
    )
