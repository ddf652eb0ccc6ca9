"""From a record to its judgement: statistics, limits, findings, and a verdict for each quantity."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from speed_benchmark.judge import rules
from speed_benchmark.judge.depth import depth
from speed_benchmark.judge.judgement import (
    Finding,
    Judged,
    Judgement,
    QuantityName,
    Severity,
    Summary,
    Verdict,
)
from speed_benchmark.judge.memory_need import memory_need
from speed_benchmark.judge.roofline import roofline
from speed_benchmark.judge.seen import Seen
from speed_benchmark.judge.statistics import summarize, without_intervals
from speed_benchmark.judge.step import step_split
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record


def judge(record: Record) -> Judgement:
    """What the rules of this version think of `record`."""
    seen = _seen(record)
    findings = tuple(finding for rule in rules.RULES for finding in rule.findings(seen))
    ended_well = record.outcome is Outcome.OK
    verdicts = {name: verdict(findings, name) if ended_well else Verdict.INVALID for name in _quantities(seen)}
    return Judgement(
        verdict=verdict(findings) if ended_well else Verdict.INVALID,
        verdicts=verdicts,
        findings=findings,
        summary=seen.summary,
        roofline=seen.roofline,
        step=seen.step,
        depth=depth(record, seen.roofline),
        quiet_tokens_per_s=seen.quiet_tokens_per_s,
        paces=seen.paces,
    )


def judged(record: Record) -> Judged:
    """`record` with its judgement."""
    return Judged(record=record, judgement=judge(record))


def _seen(record: Record) -> Seen:
    step = step_split(record)
    seen = Seen(record=record, summary=_summary(record), roofline=roofline(record, step), step=step)
    if seen.summary and seen.is_guess:
        return replace(seen, summary=without_intervals(seen.summary))
    return seen


def _summary(record: Record) -> Summary | None:
    summary = summarize(record.samples, record.cell)
    return summary.model_copy(update={"need": memory_need(record)}) if summary else None


def _quantities(seen: Seen) -> Iterator[QuantityName]:
    """Those that the record has."""
    if seen.summary is None:
        return
    yield from ("speed", "time_to_first_token")
    if seen.summary.inter_token_latency_p50_s:
        yield "percentiles"
    if seen.summary.memory.model_dump(exclude_none=True):
        yield "memory"
    if any(sample.readings and sample.readings.energy for sample in seen.record.samples):
        yield "energy"


def verdict(findings: Iterable[Finding], quantity: QuantityName = "speed") -> Verdict:
    """The worst severity of the findings that speak of it decides; notes leave it valid."""
    severities = {finding.severity for finding in findings if finding.speaks_of(quantity)}
    if Severity.INVALID in severities:
        return Verdict.INVALID
    return Verdict.DOUBTFUL if Severity.DOUBTFUL in severities else Verdict.VALID
