"""What a sweep remembers of a record on disk, so that its memory does not grow with what is measured."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from speed_benchmark.judge.judgement import Judged, Severity, Verdict
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record


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
    findings = judged.judgement.findings
    codes = tuple(dict.fromkeys(one.code for one in findings if one.severity is not Severity.NOTE))
    return _stored(judged.record, path, judged.judgement.verdict, codes, is_new=is_new)


def of_file(record: Record, judgement: dict[str, Any], path: Path) -> Stored | None:
    """What is to be remembered of a record whose file holds this `judgement`; None where it can't be read."""
    try:
        verdict = Verdict(judgement["verdict"])
        codes = [str(one["code"]) for one in judgement["findings"] if one["severity"] != Severity.NOTE]
    except (KeyError, TypeError, ValueError):
        return None
    return _stored(record, path, verdict, tuple(dict.fromkeys(codes)), is_new=False)


def _stored(record: Record, path: Path, verdict: Verdict, codes: tuple[str, ...], *, is_new: bool) -> Stored:
    return Stored(record.cell_id, record.record_id, path, record.created_at, record.outcome, verdict, codes, is_new)
