"""Pure rules from a record to findings, and from findings to one verdict."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from speed_benchmark.results.record import Finding, Outcome, Record, Severity, Verdict
from speed_benchmark.results.statistics import summarize

Rule = Callable[[Record], Iterator[Finding]]


def judge(record: Record) -> Record:
    """`record` with its summary, findings and verdict as they follow from the rest of it."""
    summarized = record.model_copy(update={"summary": summarize(record.samples)})
    findings = tuple(finding for rule in RULES for finding in rule(summarized))
    severities = {finding.severity for finding in findings}
    ok = record.outcome in (Outcome.OK, Outcome.INVALID)
    if not ok or Severity.INVALID in severities:
        verdict = Verdict.INVALID
    else:
        verdict = Verdict.DOUBTFUL if Severity.DOUBTFUL in severities else Verdict.VALID
    outcome = (Outcome.INVALID if verdict is Verdict.INVALID else Outcome.OK) if ok else record.outcome
    return summarized.model_copy(update={"findings": findings, "verdict": verdict, "outcome": outcome})


def token_counts(record: Record) -> Iterator[Finding]:
    """The asked number of tokens went in and came out, and each had a time."""
    workload = record.cell.workload
    for number, sample in enumerate(record.samples, 1):
        seen = (sample.prompt_tokens, sample.output_tokens, len(sample.token_times_s))
        if seen != (workload.context_length, workload.generate_length, workload.generate_length):
            yield Finding(
                code="token_counts",
                severity=Severity.INVALID,
                text=(
                    f"repeat {number}: {seen[0]} tokens in, {seen[1]} out, {seen[2]} timed; asked for "
                    f"{workload.context_length} in and {workload.generate_length} out"
                ),
                cure="report it: the engine did not do what was asked",
            )


def token_times(record: Record) -> Iterator[Finding]:
    """Times rise, begin after the request did and end before it ended."""
    for number, sample in enumerate(record.samples, 1):
        times = (0.0, *sample.token_times_s, sample.duration_s)
        if any(later < earlier for earlier, later in pairwise(times)) or sample.duration_s <= 0:
            yield Finding(
                code="token_times",
                severity=Severity.INVALID,
                text=f"repeat {number}: the times of its tokens are not in order",
                cure="report it: the clock or the engine is broken",
            )


def missing_repeats(record: Record) -> Iterator[Finding]:
    """All repeats that were asked for are there."""
    asked = record.cell.protocol.repeats
    if record.outcome in (Outcome.OK, Outcome.INVALID) and len(record.samples) != asked:
        yield Finding(
            code="missing_repeats",
            severity=Severity.INVALID,
            text=f"{len(record.samples)} repeats are there, {asked} were asked for",
            cure="measure again",
        )


def weight_format(record: Record) -> Iterator[Finding]:
    """The loaded layers hold the format that the checkpoint promises."""
    promised = record.checkpoint.quantization if record.checkpoint else None
    if record.loaded and promised and record.loaded.quantization != promised and not _cast(record):
        yield Finding(
            code="weight_format",
            severity=Severity.INVALID,
            text=f"the checkpoint is {promised}, but the engine holds {record.loaded.quantization}",
            cure="check the checkpoint, and that the engine supports its format on this machine",
        )


def cached_prompt(record: Record) -> Iterator[Finding]:
    """No token of a prompt came from a cache."""
    if record.loaded and record.loaded.prefix_caching:
        yield Finding(
            code="prefix_caching",
            severity=Severity.INVALID,
            text="the engine reuses prompts of earlier requests",
            cure="switch prefix caching off",
        )
    for number, sample in enumerate(record.samples, 1):
        if sample.cached_tokens:
            yield Finding(
                code="cached_prompt",
                severity=Severity.INVALID,
                text=f"repeat {number}: {sample.cached_tokens} prompt tokens came from a cache",
                cure="switch prefix caching off",
            )


def no_warmup(record: Record) -> Iterator[Finding]:
    """At least one request ran before the first that counts."""
    if record.samples and not record.cell.protocol.warmups:
        yield Finding(
            code="no_warmup",
            severity=Severity.DOUBTFUL,
            text="nothing ran before the first repeat: start-up costs are part of it",
            cure="--warmups 1",
        )


def other_choice(record: Record) -> Iterator[Finding]:
    """Something other than the usual choice runs, and the engine says why."""
    for reason in record.loaded.reasons if record.loaded else ():
        yield Finding(code="other_choice", severity=Severity.NOTE, text=reason, cure="see the reason")


def _cast(record: Record) -> bool:
    """Whether another type of unquantised weights was asked for."""
    plain = {"BF16", "FP16", "FP32"}
    assert record.loaded is not None  # noqa: S101 - asked by the caller
    assert record.checkpoint is not None  # noqa: S101
    return (
        record.cell.settings.dtype != "auto"
        and record.checkpoint.quantization in plain
        and record.loaded.quantization in plain
    )


RULES: tuple[Rule, ...] = (
    token_counts,
    token_times,
    missing_repeats,
    weight_format,
    cached_prompt,
    no_warmup,
    other_choice,
)
