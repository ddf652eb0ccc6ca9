"""Static images, the flat samples, their schemas, and cells that a spreadsheet would take for formulas."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import jsonschema
import pyarrow.parquet
import pytest

from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Judgement
from speed_benchmark.record.format import serialize
from speed_benchmark.record.record import Record
from speed_benchmark.report import charts, documents
from speed_benchmark.report.exports import to_csv
from speed_benchmark.report.rows import Row
from speed_benchmark.report.samples import SampleRow, write_jsonl, write_parquet
from speed_benchmark.report.schemas import schemas
from speed_benchmark.terminal import printable
from tests.report.made import record, shown, vary

pytestmark = pytest.mark.slow

Command = Callable[..., CompletedProcess[str]]
SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


def written(write: Callable[..., None], records: list[Record]) -> bytes:
    file = io.BytesIO()
    write(records, file)
    return file.getvalue()


def test_plots_are_drawn_without_a_browser(
    golden_records: list[Record], stored: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    folder = stored(golden_records)
    for name in ("one", "two"):
        assert command("report", folder, "--plots", tmp_path / name, PATH="").returncode == 0
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert {"speed.svg", "speed.png", "memory.svg", "first_token.svg", "repeats.svg", "gaps.svg"} <= names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert ">14336</text>" in (tmp_path / "one" / "speed.svg").read_text()


def test_the_layers_of_a_chart_share_its_data(golden_records: list[Record]) -> None:
    """A layer with data of its own shows every model in the panel of each."""
    document = documents.report(shown(golden_records), "en", "qwen2.5")
    drawn = charts.specs(document, charts.values(document), lambda _: "#000")
    assert drawn.keys() == {"speed", "memory", "first_token", "repeats", "gaps"}
    for name, spec in drawn.items():
        assert spec["data"] == {"name": "rows"}, name
        assert json.dumps(spec).count('"data": {') == 1, name


def test_one_row_a_repeat(golden_records: list[Record]) -> None:
    lines = [json.loads(line) for line in written(write_jsonl, golden_records).splitlines()]
    parquet = io.BytesIO(written(write_parquet, golden_records))
    assert pyarrow.parquet.read_table(parquet).to_pylist() == lines
    assert len(lines) == sum(len(record.samples) for record in golden_records)
    first = golden_records[0]
    assert lines[0]["record_id"] == first.record_id
    assert [line["repeat"] for line in lines[:7]] == [1, 2, 3, 4, 5, 6, 7]
    assert lines[2]["generation_tokens_per_s"] == 80 / first.samples[2].duration_s
    assert lines[2]["token_times_s"] == list(first.samples[2].sequences[0].token_times_s)


def test_one_row_a_sequence_of_a_batch() -> None:
    batch = vary(record(batch_size=3))
    lines = [json.loads(line) for line in written(write_jsonl, [batch]).splitlines()]
    assert len(lines) == 7 * 3
    assert [(line["repeat"], line["sequence"]) for line in lines[:4]] == [(1, 0), (1, 1), (1, 2), (2, 0)]
    request = batch.samples[0]
    for line, sequence in zip(lines[:3], request.sequences, strict=True):
        times_s = sequence.token_times_s
        assert line["time_to_first_token_s"] == times_s[0]
        assert line["token_times_s"] == list(times_s)
        assert line["generation_tokens_per_s"] == 240 / request.duration_s
        assert line["sequence_generation_tokens_per_s"] == 80 / request.duration_s
        assert line["sequence_decode_tokens_per_s"] == 79 / (times_s[-1] - times_s[0])


def test_samples_are_written_as_records_are_read(golden_records: list[Record]) -> None:
    """Records of any number pass through: none is held until the last is read."""
    file = io.BytesIO()

    def read() -> Iterator[Record]:
        yield golden_records[0]
        assert file.getvalue().count(b"\n") == 7
        yield golden_records[1]

    write_jsonl(read(), file)
    assert file.getvalue().count(b"\n") == 14


def test_a_column_without_a_value_keeps_its_type(golden_records: list[Record]) -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(written(write_parquet, golden_records[:1])))
    assert str(table.schema.field("window").type) == "string"
    assert str(table.schema.field("process_device_bytes").type) == "int64"
    assert str(table.schema.field("simulated").type) == "bool"
    assert table.column("process_device_bytes").null_count == 7


def test_what_is_written_is_as_the_published_schemas_say(golden_records: list[Record]) -> None:
    """UPDATE_GOLDEN=1 writes the schemas anew."""
    for name, schema in schemas().items():
        text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        if os.environ.get("UPDATE_GOLDEN"):
            SCHEMAS.mkdir(parents=True, exist_ok=True)
            (SCHEMAS / name).write_text(text)
        assert (SCHEMAS / name).read_text() == text
        jsonschema.Draft202012Validator.check_schema(schema)
    sample = jsonschema.Draft202012Validator(schemas()["sample.schema.json"])
    for line in written(write_jsonl, golden_records).splitlines():
        sample.validate(json.loads(line))
    validator = jsonschema.Draft202012Validator(schemas()["record.schema.json"])
    for one in golden_records:
        validator.validate(json.loads(serialize(one)))
        validator.validate(json.loads(serialize(one, judge(one).model_dump(mode="json"))))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(json.loads(serialize(golden_records[0])) | {"speed": 1})


def undescribed(schema: Any, where: str = "") -> Iterator[str]:
    """The properties of a schema, and of all that it refers to, without a description."""
    if isinstance(schema, dict):
        for name, field in schema.get("properties", {}).items():
            if isinstance(field, dict) and not field.get("description"):
                yield f"{where}/{name}"
        for key, value in schema.items():
            yield from undescribed(value, f"{where}/{key}")
    elif isinstance(schema, list):
        for value in schema:
            yield from undescribed(value, where)


@pytest.mark.parametrize("name", ["record.schema.json", "sample.schema.json"])
def test_every_field_of_a_schema_has_a_description(name: str) -> None:
    schema = schemas()[name]
    assert schema["$id"].startswith("urn:speed-benchmark:schema:")
    assert list(undescribed(schema)) == []


def names_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from names_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from names_in(value)


def test_rows_and_samples_use_the_names_of_the_record() -> None:
    """One vocabulary: what else a row says is said of it alone."""
    known = {*names_in(schemas()["record.schema.json"]), *names_in(Judgement.model_json_schema())}
    own = {"file", "memory_bytes", "first_request_s", "repeat_tokens_per_s", "inter_token_s", "step_shares"}
    own |= {f"generation_tokens_per_s_{part}" for part in ("low", "high", "stdev")}
    own |= {f"at_{depth}k_tokens_per_s{end}" for depth in (8, 32, 128) for end in ("", "_low", "_high")}
    own |= {"software", "note", "notes", "record_ids", "older", "doubtful_parts"}
    own |= {f"inter_token_latency_p{percent}_s_{end}" for percent in (50, 90, 99) for end in ("minimum", "maximum")}
    assert Row.model_fields.keys() - known - own == set()
    assert SampleRow.model_fields.keys() - known - own == {"repeat", "sequence"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"])
def test_no_text_of_a_record_is_a_formula(measured: dict[str, Record], text: str) -> None:
    machine = vary(measured["ok"]).machine.model_copy(update={"driver": text})
    rows = shown([vary(measured["ok"], model=text, machine=machine, prompt=text, options={"flag": text})])
    line = next(csv.DictReader(io.StringIO(to_csv(rows), newline="")))
    assert line["driver"] == f"'{printable(text)}"
    assert line["prompt"] == f"'{printable(text)}"
    assert line["flag"] == f"'{printable(text)}"
    assert all(not cell.startswith(("=", "+", "@", "\t", "\r")) for cell in line.values())
    assert float(line["generation_tokens_per_s"]) > 0  # a number stays one, a negative one too


def test_a_missing_extra_is_named(golden_records: list[Record], stored: Callable[..., Path], tmp_path: Path) -> None:
    """In an interpreter that has none of the extra's libraries."""
    folder = stored(golden_records[:1])
    for name in ("altair", "vl_convert", "pyarrow"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not installed')")
    for option in (("--format", "html"), ("--format", "parquet"), ("--plots", str(tmp_path / "plots"))):
        done = subprocess.run(
            [sys.executable, "-m", "speed_benchmark", "report", str(folder), *option],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
        )
        assert done.returncode == 2
        assert "pip install 'speed-benchmark[report]'" in done.stderr
        assert done.stderr.count("\n") == 1
