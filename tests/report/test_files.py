"""Static images, the flat samples, their schemas, and cells that a spreadsheet would take for formulas."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import jsonschema
import pyarrow.parquet
import pytest

from speed_benchmark.record.record import Record
from speed_benchmark.report.exports import to_csv
from speed_benchmark.report.samples import schemas, to_jsonl, to_parquet
from tests.report.test_formats import table_rows

Command = Callable[..., CompletedProcess[str]]
SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


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


def test_one_row_a_repeat(golden_records: list[Record], tmp_path: Path) -> None:
    lines = [json.loads(line) for line in to_jsonl(golden_records).splitlines()]
    file = tmp_path / "samples.parquet"
    file.write_bytes(to_parquet(golden_records))
    assert pyarrow.parquet.read_table(file).to_pylist() == lines
    assert len(lines) == sum(len(record.samples) for record in golden_records)
    first = golden_records[0]
    assert lines[0]["record_id"] == first.record_id
    assert [line["repeat"] for line in lines[:7]] == [1, 2, 3, 4, 5, 6, 7]
    assert lines[2]["generation_tokens_per_s"] == 80 / first.samples[2].duration_s
    assert lines[2]["token_times_s"] == list(first.samples[2].token_times_s)


def test_a_column_without_a_value_keeps_its_type(golden_records: list[Record]) -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(to_parquet(golden_records[:1])))
    assert str(table.schema.field("window").type) == "string"
    assert str(table.schema.field("process_device_bytes").type) == "int64"
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
    for line in to_jsonl(golden_records).splitlines():
        sample.validate(json.loads(line))
    record = jsonschema.Draft202012Validator(schemas()["record.schema.json"])
    for one in golden_records:
        record.validate(json.loads(one.model_dump_json(exclude_none=True)))
    with pytest.raises(jsonschema.ValidationError):
        record.validate(json.loads(golden_records[0].model_dump_json(exclude_none=True)) | {"speed": 1})


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"])
def test_no_text_of_a_record_is_a_formula(measured: dict[str, Record], vary: Callable[..., Record], text: str) -> None:
    machine = vary(measured["ok"]).machine.model_copy(update={"driver": text})
    shown = table_rows([vary(measured["ok"], model=text, machine=machine, prompt=text)])
    line = next(csv.DictReader(io.StringIO(to_csv(shown), newline="")))
    assert line["driver"] == f"'{text}"
    assert line["prompt"] == f"'{text}"
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
