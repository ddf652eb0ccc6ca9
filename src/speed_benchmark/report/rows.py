"""A record as one flat row: what tables, charts and spreadsheets show of it."""

import re
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Annotated

import numpy as np
from pydantic import Field

from speed_benchmark.cell import OptionValue, options
from speed_benchmark.engines import registry
from speed_benchmark.errors import UserError
from speed_benchmark.judge import statistics, texts
from speed_benchmark.judge.judgement import Depth, Finding, Judged, Quantity, QuantityName, Summary, Verdict
from speed_benchmark.record import formats
from speed_benchmark.record.base import Frozen
from speed_benchmark.record.machine import Machine
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample
from speed_benchmark.report.columns import Column, Place, columns, option_columns
from speed_benchmark.report.words import Language, Words, words

GAP_PERCENTS = (10, 25, 50, 75, 90)

_TABLES: tuple[Place, ...] = ("report", "run", "page", "details")
_RUN: tuple[Place, ...] = ("run", "page", "details")
_REPORT: tuple[Place, ...] = ("report", "details")
_PAGE: tuple[Place, ...] = ("page", "details")
_DETAILS: tuple[Place, ...] = ("details",)
_CHART: tuple[Place, ...] = ("page", "details", "chart")
_DIFFERING: tuple[Place, ...] = ("report",)


class Row(Frozen):
    """What a report shows of one record, or of several of the same cell that are pooled; `record_id` is the newest's.

    Every figure is the record's own or recomputed from its samples, under the name that it has in the record or in its
    judgement. `model` is the name without its publisher and without the weight format, which is `quantization`.
    `memory_bytes` is what the report means by memory: on GPUs `as_started_bytes`, what the engine's tensors took at the
    worst moment as it was started here, or for an engine that takes its memory in advance would have with this cell's
    cache alone; on the CPU the peak resident memory.
    `first_request_s` is that of the first process, a warm-up where there is one; `inter_token_s` are percentiles of the
    gaps between tokens, `step_shares` the parts of a decoding step. `reasons` say why the record is doubtful, invalid
    or without a speed. `older` records are left out of tables: newer ones of the same cell on the same machine stand
    there.
    """

    model: Annotated[str, Column(where=_TABLES)]
    engine: Annotated[str, Column(where=_RUN)]
    context_length: Annotated[int, Column(where=_TABLES)]
    generate_length: Annotated[int, Column(where=_TABLES, varies=_DIFFERING)]
    batch_size: Annotated[int, Column(where=_TABLES, varies=("report", "run", "page"), said="batch", rank=1)] = 1
    quantization: Annotated[str, Column(where=_TABLES)]
    gpu_count: Annotated[int, Column(where=_TABLES, zero="cpu")]
    generation_tokens_per_s: Annotated[
        float | None, Column(label="speed", unit="tokens/s", digits=2, where=_TABLES)
    ] = None
    generation_tokens_per_s_low: Annotated[
        float | None, Column(label="interval_95", digits=2, where=_PAGE, to="generation_tokens_per_s_high")
    ] = None
    generation_tokens_per_s_high: float | None = None
    generation_tokens_per_s_stdev: Annotated[
        float | None, Column(label="stdev", unit="tokens/s", digits=2, where=_DETAILS)
    ] = None
    repeat_tokens_per_s: Annotated[tuple[float, ...], Column(unit="tokens/s", digits=2, where=_DETAILS)] = ()
    total_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_PAGE)] = None
    decode_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_RUN, varies=("run",))] = None
    quiet_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_RUN, varies=("run",))] = None
    slow_share: Annotated[float | None, Column(unit="%", digits=1, where=_DETAILS)] = None
    prefill_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_DETAILS)] = None
    sequence_generation_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_DETAILS)] = None
    sequence_decode_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_DETAILS)] = None
    time_to_first_token_s: Annotated[float | None, Column(unit="ms", digits=2, where=_CHART)] = None
    time_to_last_first_token_s: Annotated[float | None, Column(unit="ms", digits=2, where=_DETAILS)] = None
    inter_token_latency_p50_s: Annotated[float | None, Column(unit="ms", digits=2, where=_PAGE)] = None
    inter_token_latency_p50_s_minimum: Annotated[
        float | None,
        Column(
            label="inter_token_latency_p50_s_range",
            unit="ms",
            digits=2,
            where=_DETAILS,
            to="inter_token_latency_p50_s_maximum",
        ),
    ] = None
    inter_token_latency_p50_s_maximum: float | None = None
    inter_token_latency_p90_s: Annotated[float | None, Column(unit="ms", digits=2, where=_DETAILS)] = None
    inter_token_latency_p90_s_minimum: Annotated[
        float | None,
        Column(
            label="inter_token_latency_p90_s_range",
            unit="ms",
            digits=2,
            where=_DETAILS,
            to="inter_token_latency_p90_s_maximum",
        ),
    ] = None
    inter_token_latency_p90_s_maximum: float | None = None
    inter_token_latency_p99_s: Annotated[float | None, Column(unit="ms", digits=2, where=_DETAILS)] = None
    inter_token_latency_p99_s_minimum: Annotated[
        float | None,
        Column(
            label="inter_token_latency_p99_s_range",
            unit="ms",
            digits=2,
            where=_DETAILS,
            to="inter_token_latency_p99_s_maximum",
        ),
    ] = None
    inter_token_latency_p99_s_maximum: float | None = None
    inter_token_s: tuple[float, ...] = ()
    memory_bytes: Annotated[
        int | None, Column(unit="GiB", digits=2, where=("report", "run", "page", "details", "chart"))
    ] = None
    as_started_bytes: Annotated[int | None, Column(unit="GiB", digits=2, where=_DETAILS)] = None
    minimum_to_run_bytes: Annotated[int | None, Column(unit="GiB", digits=2, where=_DETAILS)] = None
    allocator_peak_allocated_bytes: Annotated[int | None, Column(unit="GiB", digits=2, where=_DETAILS)] = None
    allocator_peak_reserved_bytes: Annotated[int | None, Column(unit="GiB", digits=2, where=_DETAILS)] = None
    process_device_bytes: Annotated[int | None, Column(unit="GiB", digits=2, where=_DETAILS)] = None
    device_used_bytes: Annotated[int | None, Column(unit="GiB", digits=2, where=_DETAILS)] = None
    host_peak_rss_bytes: Annotated[int | None, Column(unit="GiB", digits=2, where=_DETAILS)] = None
    mbu: Annotated[float | None, Column(unit="%", digits=1, where=_CHART)] = None
    mfu: Annotated[float | None, Column(unit="%", digits=1, where=_DETAILS)] = None
    decode_limit_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_DETAILS)] = None
    device_busy_share: Annotated[float | None, Column(unit="%", digits=1, where=_DETAILS)] = None
    device_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_PAGE)] = None
    device_s_per_token: Annotated[float | None, Column(unit="ms", digits=3, where=_DETAILS)] = None
    host_share: Annotated[float | None, Column(unit="%", digits=1, where=_DETAILS)] = None
    step_shares: tuple[tuple[str, float], ...] = ()
    bound_by: Annotated[str, Column(where=_DETAILS, worded=True)] = ""
    slope_s_per_token: Annotated[float | None, Column(unit="ns", digits=1, where=_DETAILS)] = None
    slope_low_s_per_token: Annotated[
        float | None, Column(label="slope_range", unit="ns", digits=1, where=_DETAILS, to="slope_high_s_per_token")
    ] = None
    slope_high_s_per_token: float | None = None
    roof_slope_s_per_token: Annotated[float | None, Column(unit="ns", digits=1, where=_DETAILS)] = None
    at_8k_tokens_per_s: float | None = None
    at_8k_tokens_per_s_low: Annotated[
        float | None,
        Column(label="at_8k", unit="tokens/s", digits=1, where=_DETAILS, to="at_8k_tokens_per_s_high"),
    ] = None
    at_8k_tokens_per_s_high: float | None = None
    at_32k_tokens_per_s: float | None = None
    at_32k_tokens_per_s_low: Annotated[
        float | None,
        Column(label="at_32k", unit="tokens/s", digits=1, where=_DETAILS, to="at_32k_tokens_per_s_high"),
    ] = None
    at_32k_tokens_per_s_high: float | None = None
    at_128k_tokens_per_s: float | None = None
    at_128k_tokens_per_s_low: Annotated[
        float | None,
        Column(label="at_128k", unit="tokens/s", digits=1, where=_DETAILS, to="at_128k_tokens_per_s_high"),
    ] = None
    at_128k_tokens_per_s_high: float | None = None
    per_generated_token_joules: Annotated[float | None, Column(unit="J", digits=2, where=_CHART)] = None
    load_s: Annotated[float | None, Column(unit="s", digits=1, where=_DETAILS)] = None
    first_request_s: Annotated[float | None, Column(unit="s", digits=1, where=_DETAILS)] = None
    machine: Annotated[str, Column(where=_REPORT, varies=_DIFFERING, said="bare", rank=-1)]
    host_id: Annotated[str, Column(where=_REPORT, varies=_DIFFERING, rank=-1)] = ""
    driver: Annotated[str, Column(where=_REPORT, varies=_DIFFERING, rank=-1)] = ""
    software: Annotated[str, Column(where=_REPORT, varies=_DIFFERING, said="bare", rank=-1)]
    sampling: Annotated[str, Column(where=_REPORT, varies=_DIFFERING)]
    prompt: Annotated[str, Column(where=_DETAILS, worded=True)] = ""
    attention_implementation: Annotated[str, Column(where=_REPORT, varies=_DIFFERING)] = ""
    execution: Annotated[str, Column(where=_REPORT, varies=_DIFFERING)] = ""
    quantization_kernels: Annotated[tuple[str, ...], Column(where=_DETAILS)] = ()
    dtype: Annotated[str, Column(where=_REPORT, varies=_DIFFERING)] = ""
    options: Annotated[dict[str, OptionValue], Column(where=_REPORT, varies=_DIFFERING)] = Field(default_factory=dict)
    source: Annotated[str, Column(label="weights", where=_DETAILS, worded=True)] = ""
    repeats: Annotated[int, Column(where=_REPORT, varies=_DIFFERING)]
    warmups: Annotated[int, Column(where=_REPORT, varies=_DIFFERING)]
    processes: Annotated[int, Column(where=_DETAILS)] = 1
    outcome: Annotated[str, Column(where=_PAGE, worded=True)]
    verdict: Annotated[str, Column(where=_RUN, worded=True)]
    doubtful_parts: Annotated[tuple[str, ...], Column(where=_DETAILS, worded=True)] = ()
    note: Annotated[str, Column(where=_TABLES)] = ""
    predicted: bool = False
    simulated: bool = False
    findings: tuple[str, ...] = ()
    reasons: Annotated[tuple[str, ...], Column(where=_DETAILS)] = ()
    notes: Annotated[tuple[str, ...], Column(where=_DETAILS)] = ()
    created_at: Annotated[str, Column(where=_DETAILS)]
    file: Annotated[str, Column(where=_DETAILS)]
    record_id: Annotated[str, Column(where=("page",))]
    record_ids: Annotated[tuple[str, ...], Column(label="record_id", where=_DETAILS)] = ()
    cell_id: Annotated[str, Column(where=_DETAILS)]
    older: bool = False

    @property
    def measured(self) -> bool:
        """Whether its speed may be shown."""
        sound = self.outcome == Outcome.OK and self.verdict != Verdict.INVALID
        return sound and self.generation_tokens_per_s is not None

    @property
    def length(self) -> str:
        """The length of the input, of a batch with the number of its sequences: `6144 x 4`."""
        return f"{self.context_length} x {self.batch_size}" if self.batch_size > 1 else str(self.context_length)

    @property
    def values(self) -> dict[str, object]:
        """Name -> value of all fields, with each of the engine's options in place of `options`."""
        found = dict(self)
        options = found.pop("options")
        return found | {_option_name(name): value for name, value in options.items()}


def shown_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of `rows`: those of every row, and one for each option of an engine that any of them has."""
    found: list[Column] = []
    for column in columns(Row):
        found += _option_columns(rows, column) if column.name == "options" else [column]
    return found


def row(judged: Judged, file: str, language: Language = "en") -> Row:
    """The row of one record that is stored in `file`, its texts in `language`.

    A field that is not named here is found by its name in the record or in its judgement.
    """
    record, said = judged.record, words(language)
    summary, cell = judged.judgement.summary, judged.record.cell
    speed = summary.generation_tokens_per_s if summary else None
    interval = speed.interval if speed else None
    requests = statistics.whole_requests(record.samples, cell) if summary else []
    named: dict[str, object] = {
        "model": base_name(record),
        "quantization": quantization(record),
        "generation_tokens_per_s_low": interval.low if interval else None,
        "generation_tokens_per_s_high": interval.high if interval else None,
        "generation_tokens_per_s_stdev": speed.stdev if speed else None,
        "repeat_tokens_per_s": tuple(statistics.generation_tokens_per_s(sample) for sample in requests),
        "inter_token_s": _gap_percentiles(requests),
        **_depth(judged.judgement.depth),
        "memory_bytes": memory_bytes(judged),
        "step_shares": tuple(judged.judgement.step.shares.items()) if judged.judgement.step else (),
        "per_generated_token_joules": _joules_per_token(record),
        "first_request_s": first_request_s(record),
        "machine": hardware(record.machine, said),
        "software": software(record),
        "sampling": _sampling(record, said),
        "options": _options(record),
        "repeats": len(record.samples),
        "warmups": len(record.warmups),
        "note": _note(judged, said),
        "doubtful_parts": _doubtful_parts(judged),
        "findings": tuple(finding.code for finding in judged.judgement.findings),
        "reasons": _reasons(judged, language),
        "notes": _notes(judged, language),
        "file": file,
        "record_ids": (record.record_id,),
    }
    named |= _ranges(summary) if summary else {}
    return Row(**_found(judged, Row.model_fields.keys() - named.keys()), **named)


def base_name(record: Record) -> str:
    """The model's name without its publisher or folder, and without the suffix of its weight format."""
    return formats.base_name(record.cell.model.model_id_or_path.rstrip("/").rpartition("/")[2])


def quantization(record: Record) -> str:
    """The weight format: as loaded, else as the checkpoint or its name says; empty where nothing says."""
    if record.loaded:
        return record.loaded.quantization
    if record.checkpoint and record.checkpoint.quantization:
        return record.checkpoint.quantization
    told = formats.in_name(record.cell.model.model_id_or_path)
    return told.name if told else ""


def memory_bytes(judged: Judged) -> int | None:
    """What the report means by memory on this record's engine and machine; None where it can't be said."""
    record, summary = judged.record, judged.judgement.summary
    if summary is None:
        return None
    if not record.gpus:
        return summary.memory.host_peak_rss_bytes
    return summary.need.as_started_bytes if summary.need else None


def _depth(found: Depth | None) -> dict[str, object]:
    """The slope of decoding and the speeds at depth, by the names of their columns."""
    if found is None:
        return {}
    values: dict[str, object] = {name: value for name, value in found if name != "speeds"}
    for speed in found.speeds:
        name = f"at_{thousands(speed.context_tokens)}_tokens_per_s"
        values |= {name: speed.decode_tokens_per_s, f"{name}_low": speed.low, f"{name}_high": speed.high}
    return values


def thousands(tokens: int) -> str:
    """A length as users say it: 8k for 8192."""
    return f"{tokens // 1024}k"


def first_request_s(record: Record) -> float | None:
    """How long the first request of the first process took, with all that a new length makes an engine prepare.

    None without one; of a quick measurement too, whose requests are short.
    """
    requests = (*record.warmups, *record.samples)
    return requests[0].duration_s if requests and not record.cell.protocol.quick else None


def hardware(machine: Machine, said: Words) -> str:
    """The GPUs, or the processor where there is none: `2 x NVIDIA H100 80GB HBM3`."""
    names = [gpu.name for gpu in machine.gpus]
    if not names:
        return said["processor"].format(processor=machine.processor, cores=machine.cores)
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())


def software(record: Record) -> str:
    """The versions that speed depends on most."""
    return ", ".join(f"{name} {version}" for name, version in versions(record).items())


def versions(record: Record) -> dict[str, str]:
    """Package -> version of what the engine says decides its speed; of an engine unknown here, of it and PyTorch."""
    engine, packages = record.cell.settings.engine, record.provenance.packages
    try:
        wanted = registry.settings_class(engine).traits.packages
    except UserError:
        wanted = (*(name for name in packages if name == engine or name.startswith(f"{engine}-")), "torch")
    return {name: packages[name] for name in wanted if name in packages}


def _options(record: Record) -> dict[str, OptionValue]:
    """What the engine's options were, in its order; of an engine unknown here, as they come."""
    chosen = record.cell.settings.options
    try:
        declared = options(registry.settings_class(record.cell.settings.engine))
    except UserError:
        declared = {}
    return {name: chosen[name] for name in dict.fromkeys((*declared, *chosen)) if name in chosen}


def order(row: Row) -> tuple[object, ...]:
    """Where a row stands in a report: 0.5B before 14B, 1 before 6144, BF16 before GPTQ, old before new."""
    place = (row.engine, row.context_length, row.generate_length, row.batch_size)
    weights = (*formats.order(row.quantization), row.gpu_count)
    return (natural(row.model), *place, *weights, row.created_at, row.record_id)


def natural(text: str) -> list[tuple[int, float, str]]:
    """A sort key that takes numbers in `text` as numbers."""
    parts = re.findall(r"\d+(?:\.\d+)?|\D+", text)
    return [(0, float(part), "") if part[0].isdecimal() else (1, 0.0, part) for part in parts]


def _found(judged: Judged, names: Iterable[str]) -> dict[str, object]:
    """The values of `names` in the parts of a record; the first part that has one counts."""
    record, judgement = judged.record, judged.judgement
    summary, cell = judgement.summary, record.cell
    results = (
        summary,
        summary and summary.need,
        summary and summary.memory,
        judgement.roofline,
        judgement.step,
        judgement.paces,
        judgement,
    )
    asked = (cell.workload, cell.settings, cell.protocol)
    parts = (*results, record.loaded, *asked, record.checkpoint, record.machine, record)
    values: dict[str, object] = {}
    for part in reversed(parts):
        values |= {name: value for name, value in (vars(part) if part else {}).items() if value is not None}
    found = {name: values[name] for name in names if name in values}
    return {name: value.mean if isinstance(value, Quantity) else value for name, value in found.items()}


def _option_columns(rows: Sequence[Row], column: Column) -> list[Column]:
    return option_columns([{_option_name(name): one for name, one in row.options.items()} for row in rows], column)


def _option_name(option: str) -> str:
    """The column of an option: its name, unless a field of every row has that."""
    return f"options.{option}" if option in Row.model_fields else option


def _joules_per_token(record: Record) -> float | None:
    """The mean over the repeats; None unless each has a figure that is fine enough."""
    energies = [sample.readings.energy if sample.readings else None for sample in record.samples]
    joules = [
        energy.per_generated_token_joules
        for energy in energies
        if energy and not energy.too_coarse and energy.per_generated_token_joules is not None
    ]
    return fmean(joules) if joules and len(joules) == len(energies) else None


def _sampling(record: Record, said: Words) -> str:
    used = record.sampling
    if used is None:
        return said[f"sampling.{record.cell.workload.sampling}"]
    penalty = f"{used.repetition_penalty:g}"
    if used.temperature == 0:
        return said["sampling.greedy" if penalty == "1" else "sampling.greedy_penalty"].format(penalty=penalty)
    temperature, top_p = f"{used.temperature:g}", f"{used.top_p:g}"
    return said["sampling.drawn"].format(temperature=temperature, top_p=top_p, top_k=used.top_k, penalty=penalty)


def _note(judged: Judged, said: Words) -> str:
    record, summary = judged.record, judged.judgement.summary
    marks = {
        "note.simulated": bool(record.loaded and record.loaded.simulated),
        "note.synthetic": bool(record.checkpoint and record.checkpoint.source == "synthetic"),
        "note.predicted": bool(summary and summary.predicted),
    }
    return said["comma"].join(said[name] for name, applies in marks.items() if applies)


def _reasons(judged: Judged, language: Language) -> tuple[str, ...]:
    """What is to be doubted, with its cure, and why it has no speed."""
    said, cause = words(language), judged.record.cause
    doubts = [_explained(one, language) for one in judged.judgement.findings if one.doubts_speed]
    if cause:
        stage = said.get(f"stage.{cause.stage}", cause.stage)
        doubts.append(said["cause_at" if stage else "cause"].format(stage=stage, message=cause.message))
    return tuple(doubts)


def _notes(judged: Judged, language: Language) -> tuple[str, ...]:
    return tuple(texts.text(one, language) for one in judged.judgement.findings if not one.doubts_speed)


def _doubtful_parts(judged: Judged) -> tuple[QuantityName, ...]:
    """What is doubtful of a record whose speed is not."""
    judgement = judged.judgement
    if judgement.verdict is not Verdict.VALID:
        return ()
    return tuple(name for name, verdict in judgement.verdicts.items() if verdict is not Verdict.VALID)


def _ranges(summary: Summary) -> dict[str, float]:
    """Of each percentile of the gaps between tokens the lowest and the highest repeat."""
    percentiles = {name: value for name, value in summary if name.startswith("inter_token_latency") and value}
    return {
        f"{name}_{end}": getattr(value, end) for name, value in percentiles.items() for end in ("minimum", "maximum")
    }


def _explained(finding: Finding, language: Language) -> str:
    text, cure = texts.text(finding, language), texts.cure(finding, language)
    return words(language)["finding"].format(text=text, cure=cure)


def _gap_percentiles(requests: Sequence[Sample]) -> tuple[float, ...]:
    gaps_s = [np.diff(sequence.token_times_s) for request in requests for sequence in request.sequences]
    if sum(map(len, gaps_s)) < statistics.PERCENTILE_SAMPLES[90]:
        return ()
    return tuple(float(value) for value in np.percentile(np.concatenate(gaps_s), GAP_PERCENTS))
