"""A record as one flat row: what tables, charts and spreadsheets show of it."""

import re
from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np
from pydantic import Field

from speed_benchmark.judge import statistics
from speed_benchmark.record.record import Frozen, Machine, Memory, Outcome, Quantity, Record, Sample, Severity

GIB = 2**30
FORMATS = ("BF16", "FP16", "FP32", "GPTQ-Int8", "GPTQ-Int4", "AWQ")
GAP_PERCENTS = (10, 25, 50, 75, 90)
_SUFFIX = re.compile(r"-(GPTQ-Int[48]|AWQ)$", re.IGNORECASE)


class Row(Frozen):
    """What a report shows of one record; every figure is the record's own or recomputed from its samples.

    `model` is the name without its publisher and without the weight format, which is `quantization`.
    `memory_bytes` is what the report means by memory: on GPUs the peak that PyTorch's allocator handed out, or for an
    engine that takes a fixed share of the GPU what this cell needs of it; on the CPU the peak resident memory.
    `reasons` say why the record is doubtful, invalid or without a speed.
    """

    record_id: str
    cell_id: str
    file: str
    created_at: str
    model: str
    quantization: str
    engine: str
    input_tokens: int
    output_tokens: int
    gpu_count: int
    outcome: str
    verdict: str
    generation_tokens_per_s: float | None = None
    generation_tokens_per_s_low: float | None = None
    generation_tokens_per_s_high: float | None = None
    generation_tokens_per_s_stdev: float | None = None
    total_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None
    prefill_tokens_per_s: float | None = None
    time_to_first_token_s: float | None = None
    inter_token_latency_p50_s: float | None = None
    inter_token_latency_p90_s: float | None = None
    inter_token_latency_p99_s: float | None = None
    memory_bytes: int | None = None
    allocator_peak_allocated_bytes: int | None = None
    allocator_peak_reserved_bytes: int | None = None
    process_device_bytes: int | None = None
    device_used_bytes: int | None = None
    host_peak_rss_bytes: int | None = None
    minimum_to_run_bytes: int | None = None
    decode_bandwidth_share: float | None = None
    decode_limit_tokens_per_s: float | None = None
    prefill_matrix_share: float | None = None
    device_busy_share: float | None = None
    binds: str = ""
    joules_per_token: float | None = None
    load_s: float | None = None
    first_request_s: float | None = Field(default=None, description="of its process, a warm-up where there is one")
    machine: str
    driver: str
    software: str
    sampling: str
    prompt: str
    attention: str
    execution: str
    kernel: str
    dtype: str
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    weights: str
    repeats: int
    warmups: int
    predicted: bool = False
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    repeat_tokens_per_s: tuple[float, ...] = Field(default=(), description="generation speed of each repeat")
    inter_token_s: tuple[float, ...] = Field(
        default=(), description="10th, 25th, 50th, 75th and 90th percentile of the gaps between tokens"
    )

    @property
    def measured(self) -> bool:
        """Whether its speed may be shown."""
        return self.outcome == Outcome.OK and self.generation_tokens_per_s is not None


def rows(records: Iterable[tuple[str, Record]]) -> list[Row]:
    """The rows of `records`, given with their files, in the order of a report: model, engine, length, format."""
    return sorted((row(record, file) for file, record in records), key=order)


def row(record: Record, file: str) -> Row:
    """The row of one record that is stored in `file`."""
    cell, summary, loaded = record.cell, record.summary, record.loaded
    memory = summary.memory if summary else Memory()
    figures = {
        name: _mean(getattr(summary, name)) if summary else None
        for name in (
            "generation_tokens_per_s",
            "total_tokens_per_s",
            "decode_tokens_per_s",
            "prefill_tokens_per_s",
            "time_to_first_token_s",
        )
    }
    latencies = {
        f"inter_token_latency_p{percent}_s": getattr(summary, f"inter_token_latency_p{percent}_s")
        for percent in statistics.PERCENTILE_SAMPLES
        if summary
    }
    speed = summary.generation_tokens_per_s if summary else None
    requests = statistics.whole_requests(record.samples, cell) if summary else []
    roofline = record.roofline.model_dump(include=set(Row.model_fields)) if record.roofline else {}
    return Row(
        record_id=record.record_id,
        cell_id=record.cell_id,
        file=file,
        created_at=record.created_at,
        model=base_name(record),
        quantization=quantization(record),
        engine=cell.settings.engine,
        input_tokens=cell.workload.context_length,
        output_tokens=cell.workload.generate_length,
        gpu_count=cell.settings.gpu_count,
        outcome=record.outcome,
        verdict=record.verdict,
        generation_tokens_per_s_low=speed.interval.low if speed and speed.interval else None,
        generation_tokens_per_s_high=speed.interval.high if speed and speed.interval else None,
        generation_tokens_per_s_stdev=speed.stdev if speed else None,
        memory_bytes=memory_bytes(record),
        minimum_to_run_bytes=summary.need.minimum_to_run_bytes if summary and summary.need else None,
        joules_per_token=_joules_per_token(record),
        load_s=record.load_s,
        first_request_s=first_request_s(record),
        machine=hardware(record.machine),
        driver=record.machine.driver or "",
        software=software(record),
        sampling=_sampling(record),
        prompt=record.prompt or "",
        attention=loaded.attention_implementation if loaded else cell.settings.attn_implementation or "",
        execution=loaded.execution if loaded else "",
        kernel=", ".join(loaded.quantization_kernels) if loaded else "",
        dtype=loaded.dtype if loaded else cell.settings.dtype,
        max_model_len=cell.settings.max_model_len,
        gpu_memory_utilization=cell.settings.gpu_memory_utilization,
        weights=record.checkpoint.source if record.checkpoint else "",
        repeats=len(record.samples),
        warmups=len(record.warmups),
        predicted=bool(summary and summary.predicted),
        reasons=_reasons(record),
        notes=tuple(finding.text for finding in record.findings if finding.severity is Severity.NOTE),
        repeat_tokens_per_s=tuple(statistics.generation_tokens_per_s(sample) for sample in requests),
        inter_token_s=_gap_percentiles(requests),
        **figures,
        **latencies,
        **roofline,
        **memory.model_dump(include=Row.model_fields.keys() & Memory.model_fields.keys()),
    )


def base_name(record: Record) -> str:
    """The model's name without its publisher or folder, and without the suffix of its weight format."""
    name = record.cell.model.model_id_or_path.rstrip("/").rpartition("/")[2]
    return _SUFFIX.sub("", name) or name


def quantization(record: Record) -> str:
    """The weight format: as loaded, else as the checkpoint or its name says; empty where nothing says."""
    if record.loaded:
        return record.loaded.quantization
    if record.checkpoint and record.checkpoint.quantization:
        return record.checkpoint.quantization
    suffix = _SUFFIX.search(record.cell.model.model_id_or_path)
    return suffix[1] if suffix else ""


def memory_bytes(record: Record) -> int | None:
    """What the report means by memory on this record's engine and machine; None where it can't be said."""
    if record.summary is None:
        return None
    if not record.gpus:
        return record.summary.memory.host_peak_rss_bytes
    if record.cell.settings.gpu_memory_utilization is not None:
        return record.summary.need.minimum_to_run_bytes if record.summary.need else None
    return record.summary.memory.allocator_peak_allocated_bytes


def first_request_s(record: Record) -> float | None:
    """How long the first request of the first process took, with all that a new length makes an engine prepare.

    None without one; of a quick measurement too, whose requests are short.
    """
    requests = (*record.warmups, *record.samples)
    return requests[0].duration_s if requests and not record.cell.protocol.quick else None


def hardware(machine: Machine) -> str:
    """The GPUs, or the processor where there is none: `2 x NVIDIA H100 80GB HBM3`."""
    names = [gpu.name for gpu in machine.gpus]
    if not names:
        return f"{machine.processor}, {machine.cores} cores"
    distinct = list(dict.fromkeys(names))
    return ", ".join(f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in distinct)


def software(record: Record) -> str:
    """The versions that speed depends on most: the engine, PyTorch, and what computes the quantised layers."""
    engine = record.cell.settings.engine
    wanted = dict.fromkeys((engine, f"{engine}-cpu", "torch", "gptqmodel" if engine == "transformers" else engine))
    packages = record.provenance.packages
    return ", ".join(f"{name} {packages[name]}" for name in wanted if name in packages)


def order(row: Row) -> tuple[object, ...]:
    """Where a row stands in a report: 0.5B before 14B, 1 before 6144, BF16 before GPTQ, old before new."""
    known = FORMATS.index(row.quantization) if row.quantization in FORMATS else len(FORMATS)
    place = (row.engine, row.input_tokens, row.output_tokens, known, row.quantization, row.gpu_count)
    return (natural(row.model), *place, row.created_at, row.record_id)


def natural(text: str) -> list[tuple[int, float, str]]:
    """A sort key that takes numbers in `text` as numbers."""
    parts = re.findall(r"\d+(?:\.\d+)?|\D+", text)
    return [(0, float(part), "") if part[0].isdecimal() else (1, 0.0, part) for part in parts]


def newest(shown: Sequence[Row]) -> tuple[list[Row], int]:
    """The newest row of each cell on each machine, in order, and how many older ones were left out."""
    latest = {(row.cell_id, row.machine, row.driver): row for row in sorted(shown, key=lambda row: row.created_at)}
    kept = {row.record_id for row in latest.values()}
    return [row for row in shown if row.record_id in kept], len(shown) - len(kept)


def _joules_per_token(record: Record) -> float | None:
    """The mean over the repeats; None unless each has a figure that is fine enough."""
    energies = [sample.readings.energy if sample.readings else None for sample in record.samples]
    joules = [
        energy.per_generated_token_joules
        for energy in energies
        if energy and not energy.too_coarse and energy.per_generated_token_joules is not None
    ]
    return fmean(joules) if joules and len(joules) == len(energies) else None


def _mean(quantity: Quantity | None) -> float | None:
    return quantity.mean if quantity else None


def _sampling(record: Record) -> str:
    asked = record.cell.workload.sampling
    if record.sampling is None:
        return asked
    used = record.sampling
    if used.temperature == 0:
        return "greedy" if used.repetition_penalty == 1 else f"greedy, repetition penalty {used.repetition_penalty:g}"
    cuts = f"temperature {used.temperature:g}, top-p {used.top_p:g}, top-k {used.top_k}"
    return f"{cuts}, repetition penalty {used.repetition_penalty:g}"


def _reasons(record: Record) -> tuple[str, ...]:
    doubts = [f"{finding.text}; {finding.cure}" for finding in record.findings if finding.severity is not Severity.NOTE]
    if record.cause:
        stage = f"while {record.cause.stage}: " if record.cause.stage else ""
        doubts.append(f"{stage}{record.cause.message}")
    return tuple(doubts)


def _gap_percentiles(requests: Sequence[Sample]) -> tuple[float, ...]:
    gaps_s = np.concatenate([np.diff(request.token_times_s) for request in requests]) if requests else np.empty(0)
    if len(gaps_s) < statistics.PERCENTILE_SAMPLES[90]:
        return ()
    return tuple(float(value) for value in np.percentile(gaps_s, GAP_PERCENTS))
