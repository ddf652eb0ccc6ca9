"""What is said of a record below the table after a run: what the table has no room for."""

from collections.abc import Iterator
from statistics import fmean

from speed_benchmark.judge import texts
from speed_benchmark.judge.judgement import Depth, DepthSpeed, Finding, Judged, StepSplit, Summary
from speed_benchmark.record.engine import Loaded
from speed_benchmark.record.outcome import Cause
from speed_benchmark.record.record import Agreement, Record
from speed_benchmark.report.rows import first_request_s, thousands
from speed_benchmark.report.words import Language, Words, words

# A first request that takes longer by more than this has prepared something; who sends new lengths pays it each time.
SLOW_FIRST = 1.5
LEAST_SHARE = 0.005
# A speed that is known to so much is a point, else a range.
POINT = 0.02
_MOST_LAST_LINES = 10


def explain(judged: Judged, language: Language = "en") -> list[str]:
    """Lines on made-up weights and clocks, more speeds, what ran, doubts, and the cause of a failure."""
    record, judgement, said = judged.record, judged.judgement, words(language)
    lines = [*_made_up(record, said)]
    if judgement.summary:
        lines += _speeds(record, judgement.summary, said)
    if judgement.step:
        lines.append(_step(judgement.step, said))
    if judgement.depth:
        lines.append(_depth(judgement.depth, said))
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


def _step(step: StepSplit, said: Words) -> str:
    """Where a decoding step goes; what takes less than half a percent of it is left out."""
    parts = [f"{said[f'step.{part}']} {share:.0%}" for part, share in step.shares.items() if share >= LEAST_SHARE]
    return said["run.step"].format(
        speed=f"{step.device_tokens_per_s:.2f}",
        step_ms=f"{fmean(one.step_s for one in step.windows) * 1000:.3g}",
        parts=" | ".join(parts).replace("%", " %"),
    )


def _depth(depth: Depth, said: Words) -> str:
    """What the run says of decoding at other depths, and the slope that it stands on beside the roof's."""
    speeds = [f"{thousands(one.context_tokens)}: {_at_depth(one, said)}" for one in depth.speeds]
    return said["run.depth" if speeds else "run.slope"].format(
        speeds=said["comma"].join(speeds),
        slope=f"{depth.slope_s_per_token * 1e9:.1f}",
        roof=f"{depth.roof_slope_s_per_token * 1e9:.1f}",
    )


def _at_depth(speed: DepthSpeed, said: Words) -> str:
    if speed.high - speed.low <= POINT * speed.decode_tokens_per_s:
        return texts.digits(speed.decode_tokens_per_s, 3)
    return said["range"].format(low=texts.digits(speed.low, 3), high=texts.digits(speed.high, 3))


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
