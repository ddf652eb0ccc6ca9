"""From a record to its judgement: statistics, limits, findings, and one verdict."""

from collections.abc import Iterable
from dataclasses import replace

from speed_benchmark.judge import rules
from speed_benchmark.judge.judgement import Finding, Judged, Judgement, Severity, Summary, Verdict
from speed_benchmark.judge.memory_need import memory_need
from speed_benchmark.judge.roofline import roofline
from speed_benchmark.judge.seen import Seen
from speed_benchmark.judge.statistics import summarize, without_intervals
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record


def judge(record: Record) -> Judgement:
    """What the rules of this version think of `record`."""
    seen = _seen(record)
    findings = tuple(finding for rule in rules.RULES for finding in rule.findings(seen))
    verdict = _verdict(findings) if record.outcome is Outcome.OK else Verdict.INVALID
    return Judgement(verdict=verdict, findings=findings, summary=seen.summary, roofline=seen.roofline)


def judged(record: Record) -> Judged:
    """`record` with its judgement."""
    return Judged(record=record, judgement=judge(record))


def _seen(record: Record) -> Seen:
    seen = Seen(record=record, summary=_summary(record), roofline=roofline(record))
    if seen.summary and seen.is_guess:
        return replace(seen, summary=without_intervals(seen.summary))
    return seen


def _summary(record: Record) -> Summary | None:
    summary = summarize(record.samples, record.cell)
    return summary.model_copy(update={"need": memory_need(record)}) if summary else None


def _verdict(findings: Iterable[Finding]) -> Verdict:
    """The worst severity decides; notes leave a record valid."""
    severities = {finding.severity for finding in findings}
    if Severity.INVALID in severities:
        return Verdict.INVALID
    return Verdict.DOUBTFUL if Severity.DOUBTFUL in severities else Verdict.VALID
