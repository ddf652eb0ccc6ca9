"""All samples, a flat row for each request and sequence: JSON Lines and Parquet, for pandas, polars and DuckDB."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import IO, Any

from pydantic import Field

from speed_benchmark.errors import UserError
from speed_benchmark.judge import statistics
from speed_benchmark.judge.judge import judged
from speed_benchmark.record.base import Frozen
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import RESOLUTION_S, Memory, Sample, Sequence
from speed_benchmark.report.exports import as_json
from speed_benchmark.report.rows import Row, row

_EXTRA = "install the extra: pip install 'speed-benchmark[report]'"
# Rows of a row group of a Parquet file, which is what is held of it at once.
_GROUP_ROWS = 1000


class SampleRow(Frozen):
    """One sequence of one measured request, with what it was measured on: no figure is a mean over requests."""

    record_id: str = Field(description="the record that it is from: sha256: and the hash of its content")
    cell_id: str = Field(description="what was measured: sha256: and the hash of the cell")
    created_at: str = Field(description="when the record was made, ISO 8601, UTC")
    model: str = Field(description="name of the model without publisher and weight format")
    quantization: str = Field(description="weight format as loaded")
    engine: str = Field(description="what generated the tokens")
    context_length: int = Field(description="input tokens of each sequence, as asked for")
    generate_length: int = Field(description="tokens to generate in each sequence, as asked for")
    batch_size: int = Field(description="sequences generated at once, as asked for")
    gpu_count: int = Field(description="GPUs used; 0: the CPU")
    machine: str = Field(description="GPUs, or the processor where there is none")
    driver: str = Field(description="version of the GPU driver; empty without one")
    software: str = Field(description="versions that speed depends on most")
    outcome: str = Field(description="how the cell ended")
    verdict: str = Field(description="valid, doubtful or invalid: of the whole record")
    source: str = Field(description="where the weights are from: huggingface, modelscope, local or synthetic")
    simulated: bool = Field(description="whether the engine's clock is virtual: no figure is real")
    process: int = Field(description="worker process of the cell, from 0")
    repeat: int = Field(description="number of the request within its record, from 1")
    window: str | None = Field(description="part of the output that a request of a quick measurement stands for")
    sequence: int = Field(description="index of the sequence within its request, from 0")
    started_at_unix_s: float = Field(description="start of the request on the system's clock")
    duration_s: float = Field(description="of the request: from the call, device idle, until the device has finished")
    prompt_tokens: int = Field(description="tokens that went into this sequence, counted from ids")
    output_tokens: int = Field(description="tokens that came out of this sequence, counted from ids")
    generation_tokens_per_s: float | None = Field(
        description="of the request: generated tokens of all sequences / duration (Qwen2.5 definition)"
    )
    total_tokens_per_s: float | None = Field(
        description="of the request: prompt and generated tokens of all sequences / duration (Qwen3 definition)"
    )
    decode_tokens_per_s: float | None = Field(
        description="of the request: tokens after every sequence had its first / time from then to the last"
    )
    sequence_generation_tokens_per_s: float | None = Field(
        description="generated tokens of this sequence / duration of the request"
    )
    sequence_decode_tokens_per_s: float | None = Field(
        description="(generated - 1) / (last token - first token) of this sequence"
    )
    time_to_first_token_s: float | None = Field(description="to the first token of this sequence")
    allocator_peak_allocated_bytes: int | None = Field(description="peak handed out by PyTorch's CUDA allocator")
    allocator_peak_reserved_bytes: int | None = Field(description="peak held by PyTorch's CUDA allocator")
    process_device_bytes: int | None = Field(description="taken on the GPUs by the worker's process tree")
    device_used_bytes: int | None = Field(description="taken on the GPUs by everybody")
    host_peak_rss_bytes: int | None = Field(description="peak resident memory of the worker")
    token_times_s: tuple[float, ...] = Field(description="seconds from the start of the request to each token")


def sample_rows(records: Iterable[Record]) -> Iterator[SampleRow]:
    """The rows of `records`, in their order; a record without a sample has none."""
    for record in records:
        shared = _of_record(record)
        for number, sample in enumerate(record.samples, 1):
            of_request = {**shared, **_of_request(sample), "repeat": number}
            for index, sequence in enumerate(sample.sequences):
                yield SampleRow(**of_request, **_of_sequence(sample, sequence), sequence=index)


def write_jsonl(records: Iterable[Record], file: IO[bytes]) -> None:
    """Write one JSON object a line."""
    for sample in sample_rows(records):
        file.write(f"{as_json(sample.model_dump(mode='json'))}\n".encode())


def write_parquet(records: Iterable[Record], file: IO[bytes]) -> None:
    """Write a Parquet file whose columns have the types of SampleRow, also where every value is missing."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "string": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "array": pa.list_(pa.float64()),
    }
    properties = SampleRow.model_json_schema()["properties"]
    schema = pa.schema([pa.field(name, types[_type(described)]) for name, described in properties.items()])
    rows = (sample.model_dump() for sample in sample_rows(records))
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while some := list(islice(rows, _GROUP_ROWS)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))


def check_parquet() -> None:
    """Raise UserError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError("--format", "parquet", f"needs pyarrow; {_EXTRA}") from None


def _of_record(record: Record) -> dict[str, object]:
    """What all rows of a record share: fields of its row whose figures are of no request."""
    shared = SampleRow.model_fields.keys() & Row.model_fields.keys() - _OWN
    return row(judged(record), "").model_dump(include=shared)


def _of_request(sample: Sample) -> dict[str, object]:
    """What all rows of a request share."""
    timed, decodes = sample.duration_s >= RESOLUTION_S, statistics.decodes(sample)
    return {
        "process": sample.process,
        "window": sample.window,
        "started_at_unix_s": sample.started_at_unix_s,
        "duration_s": sample.duration_s,
        "generation_tokens_per_s": statistics.generation_tokens_per_s(sample) if timed else None,
        "total_tokens_per_s": statistics.total_tokens_per_s(sample) if timed else None,
        "decode_tokens_per_s": statistics.decode_tokens_per_s(sample) if decodes else None,
        **sample.memory.model_dump(include=SampleRow.model_fields.keys() & Memory.model_fields.keys()),
    }


def _of_sequence(sample: Sample, sequence: Sequence) -> dict[str, object]:
    times_s, timed = sequence.token_times_s, sample.duration_s >= RESOLUTION_S
    decodes = len(times_s) > 1 and times_s[-1] - times_s[0] >= RESOLUTION_S
    return {
        "prompt_tokens": sequence.prompt_tokens,
        "output_tokens": sequence.output_tokens,
        "sequence_generation_tokens_per_s": sequence.output_tokens / sample.duration_s if timed else None,
        "sequence_decode_tokens_per_s": (len(times_s) - 1) / (times_s[-1] - times_s[0]) if decodes else None,
        "time_to_first_token_s": times_s[0] if times_s else None,
        "token_times_s": times_s,
    }


_OWN = {
    "generation_tokens_per_s",
    "total_tokens_per_s",
    "decode_tokens_per_s",
    "sequence_generation_tokens_per_s",
    "sequence_decode_tokens_per_s",
    "time_to_first_token_s",
    *Memory.model_fields,
}

Writer = Callable[[Iterable[Record], IO[bytes]], None]
WRITERS: dict[str, Writer] = {"jsonl": write_jsonl, "parquet": write_parquet}


def _type(schema: dict[str, Any]) -> str:
    """The JSON type of a field, without null."""
    return str(schema["type"] if "type" in schema else schema["anyOf"][0]["type"])
