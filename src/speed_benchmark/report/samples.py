"""All samples as one flat row a repeat, for pandas, polars, DuckDB and whatever reads Parquet or JSON Lines."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field

from speed_benchmark.errors import UserError
from speed_benchmark.judge import statistics
from speed_benchmark.record.record import Frozen, Memory, Record, Sample
from speed_benchmark.report.rows import Row, row

_EXTRA = "install the extra: pip install 'speed-benchmark[report]'"


class SampleRow(Frozen):
    """One measured request, with what it was measured on; figures of one request, so none is a mean."""

    record_id: str = Field(description="the record that it is from: sha256: and the hash of its content")
    cell_id: str = Field(description="what was measured: sha256: and the hash of the cell")
    created_at: str = Field(description="when the record was made, ISO 8601, UTC")
    model: str = Field(description="name of the model without publisher and weight format")
    quantization: str = Field(description="weight format as loaded")
    engine: str
    input_tokens: int = Field(description="prompt tokens asked for")
    output_tokens: int = Field(description="generated tokens asked for")
    gpu_count: int = Field(description="0: the CPU")
    machine: str = Field(description="GPUs, or the processor where there is none")
    driver: str
    software: str = Field(description="versions that speed depends on most")
    outcome: str
    verdict: str = Field(description="valid, doubtful or invalid: of the whole record")
    weights: str = Field(description="huggingface, modelscope, local or synthetic")
    process: int = Field(description="worker process of the cell, from 0")
    repeat: int = Field(description="number of the request within its record, from 1")
    window: str | None = Field(description="part of the output that a request of a quick measurement stands for")
    started_at_unix_s: float
    duration_s: float
    prompt_tokens: int
    generated_tokens: int
    generation_tokens_per_s: float | None = Field(description="generated / duration (Qwen2.5 definition)")
    total_tokens_per_s: float | None = Field(description="(prompt + generated) / duration (Qwen3 definition)")
    decode_tokens_per_s: float | None = Field(description="(generated - 1) / (last token - first token)")
    time_to_first_token_s: float | None
    allocator_peak_allocated_bytes: int | None
    allocator_peak_reserved_bytes: int | None
    process_device_bytes: int | None
    device_used_bytes: int | None
    host_peak_rss_bytes: int | None
    token_times_s: tuple[float, ...] = Field(description="seconds from the start of the request to each token")


def sample_rows(records: Iterable[Record]) -> Iterator[SampleRow]:
    """The rows of `records`, in their order; a record without a sample has none."""
    for record in records:
        shared = row(record, "").model_dump(include=SampleRow.model_fields.keys() & Row.model_fields.keys() - _OWN)
        for number, sample in enumerate(record.samples, 1):
            timed = sample.duration_s > 0
            yield SampleRow(
                **shared,
                process=sample.process,
                repeat=number,
                window=sample.window,
                started_at_unix_s=sample.started_at_unix_s,
                duration_s=sample.duration_s,
                prompt_tokens=sample.prompt_tokens,
                generated_tokens=sample.output_tokens,
                generation_tokens_per_s=statistics.generation_tokens_per_s(sample) if timed else None,
                total_tokens_per_s=statistics.total_tokens_per_s(sample) if timed else None,
                decode_tokens_per_s=statistics.decode_tokens_per_s(sample) if _decoded(sample) else None,
                time_to_first_token_s=sample.token_times_s[0] if sample.token_times_s else None,
                token_times_s=sample.token_times_s,
                **sample.memory.model_dump(include=SampleRow.model_fields.keys() & Memory.model_fields.keys()),
            )


_OWN = {"generation_tokens_per_s", "total_tokens_per_s", "decode_tokens_per_s", "time_to_first_token_s"} | set(
    Memory.model_fields
)


def to_jsonl(records: Iterable[Record]) -> bytes:
    """One JSON object a line."""
    lines = (json.dumps(sample.model_dump(mode="json"), ensure_ascii=False) + "\n" for sample in sample_rows(records))
    return "".join(lines).encode()


def to_parquet(records: Iterable[Record]) -> bytes:
    """A Parquet file whose columns have the types of SampleRow, also where every value is missing.

    Raises UserError where pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise UserError("--format", "parquet", f"needs pyarrow; {_EXTRA}") from None
    types = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "array": pa.list_(pa.float64())}
    fields = [pa.field(name, types[_type(schema)]) for name, schema in _properties().items()]
    table = pa.Table.from_pylist([sample.model_dump() for sample in sample_rows(records)], schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema of a stored record, and of a row of the flat formats."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        "record.schema.json": dialect | Record.model_json_schema(),
        "sample.schema.json": dialect | SampleRow.model_json_schema(),
    }


def _decoded(sample: Sample) -> bool:
    return len(sample.token_times_s) > 1 and sample.token_times_s[-1] > sample.token_times_s[0]


def _properties() -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = SampleRow.model_json_schema()["properties"]
    return properties


def _type(schema: dict[str, Any]) -> str:
    """The JSON type of a field, without null."""
    return str(schema["type"] if "type" in schema else schema["anyOf"][0]["type"])
