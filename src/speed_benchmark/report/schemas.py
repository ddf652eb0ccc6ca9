"""The published JSON Schemas: of a stored record's file, and of a row of the flat formats."""

from typing import Any

from pydantic import Field

from speed_benchmark.judge.judgement import Judgement
from speed_benchmark.record.record import SCHEMA_VERSION, Record
from speed_benchmark.report.samples import SampleRow

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class StoredRecord(Record):
    """A record as its file holds it: the evidence, and the judgement of the version that stored it."""

    judgement: Judgement | None = Field(
        default=None, description="what was thought of it on the day; computed anew whenever the record is read"
    )


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema."""
    return {
        "record.schema.json": _schema(StoredRecord, f"record:{SCHEMA_VERSION}"),
        "sample.schema.json": _schema(SampleRow, f"sample:{SCHEMA_VERSION}"),
    }


def _schema(model: type[Record | SampleRow], name: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, "$id": f"urn:speed-benchmark:schema:{name}", **model.model_json_schema()}
