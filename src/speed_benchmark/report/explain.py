"""What is said of a record below the table after a run: what the table has no room for."""

from collections.abc import Iterator

from speed_benchmark.judge import texts
from speed_benchmark.judge.judgement import Finding, Judged, Summary
from speed_benchmark.record.engine import Loaded
from speed_benchmark.record.outcome import Cause
from speed_benchmark.record.record import Agreement, Record
from speed_benchmark.report.rows import first_request_s
from speed_benchmark.report.words import Language, Words, words

# A first request that takes longer by more than this has prepared something; who sends new lengths pays it each time.
SLOW_FIRST = 1.5
_MOST_LAST_LINES = 10


def explain(judged: Judged, language: Language = "en") -> list[str]:
    """Lines on made-up weights and clocks, more speeds, what ran, doubts, and the cause of a failure."""
    record, judgement, said = judged.record, judged.judgement, words(language)
    lines = [*_made_up(record, said)]
    if judgement.summary:
        lines += _speeds(record, judgement.summary, said)
    if record.loaded:
        lines.append(_ran(record.loaded, said))
    if record.agreement:
        lines.append(_agreement(record.agreement, said))
    lines += [_finding(one, language) for one in judgement.findings]
    return [*lines, *_cause(record, record.cause, said)] if record.cause else lines


def _made_up(record: Record, said: Words) -> Iterator[str]:
    if record.loaded and record.loaded.simulated:
        yield said["note.simulated"]
    elif record.checkpoint and record.checkpoint.source == "synthetic":
        yield said["run.synthetic"]


def _speeds(record: Record, summary: Summary, said: Words) -> Iterator[str]:
    decode, first_s = summary.decode_tokens_per_s, summary.time_to_first_token_s.mean
    yield said["run.first_token" if decode else "run.first_token_only"].format(
        first_ms=f"{first_s * 1000:.1f}",
        decode=f"{decode.mean:.2f}" if decode else "",
        total=f"{summary.total_tokens_per_s.mean:.2f}",
    )
    if record.cell.workload.batch_size > 1:
        yield said["run.batch"].format(
            batch_size=record.cell.workload.batch_size,
            speed=f"{summary.sequence_generation_tokens_per_s.mean:.2f}",
            last_ms=f"{summary.time_to_last_first_token_s.mean * 1000:.1f}",
        )
    request_s, usual_s = first_request_s(record), summary.duration_s.mean
    if record.warmups and request_s is not None and request_s > SLOW_FIRST * usual_s:
        yield said["run.first_request"].format(first_s=f"{request_s:.4g}", times=f"{request_s / usual_s:.2g}")


def _ran(loaded: Loaded, said: Words) -> str:
    kernels = ", ".join(loaded.quantization_kernels)
    layers = said["run.kernels"].format(quantization=loaded.quantization, kernels=kernels) if kernels else ""
    return said["run.ran"].format(
        layers=layers or loaded.quantization,
        attention=loaded.attention_implementation,
        execution=loaded.execution,
        rope=loaded.rope,
        devices=", ".join(loaded.devices),
    )


def _agreement(other: Agreement, said: Words) -> str:
    return said["run.agreement"].format(engine=other.engine, agreed=other.agreed, compared=other.compared)


def _finding(one: Finding, language: Language) -> str:
    said = words(language)
    return said["run.finding"].format(
        severity=said[f"severity.{one.severity}"],
        code=one.code,
        text=texts.text(one, language),
        cure=texts.cure(one, language),
    )


def _cause(record: Record, cause: Cause, said: Words) -> Iterator[str]:
    stage = said.get(f"stage.{cause.stage}", cause.stage)
    outcome = said[f"outcome.{record.outcome}"]
    yield said["run.ended_at" if stage else "run.ended"].format(outcome=outcome, stage=stage, message=cause.message)
    yield from (f"  | {line}" for line in cause.last_lines[-_MOST_LAST_LINES:])
