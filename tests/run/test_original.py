"""The row of an engine's original script, for the CSV file beside a record."""

from dataclasses import replace

from speed_benchmark.cell import EngineSettings
from speed_benchmark.judge.judge import judged
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.run.original import row
from tests.run import made


def record_of(engine: str, outcome: Outcome = Outcome.OK, **options: str) -> Record:
    cell = replace(made.cell(), settings=EngineSettings(engine=engine, options=options))
    return made.record(cell, outcome)


def test_csv_has_the_columns_of_the_original() -> None:
    record = record_of("transformers")
    columns = row(record)
    judgement = judged(record).judgement
    assert list(columns)[:8] == [
        *("model_id_or_path", "batch_size", "context_length_per_experiment", "generate_length_per_experiment"),
        *("use_flash_attn", "comment", "tokens_per_second", "max_gpu_memory_cost_gb"),
    ]
    assert judgement.summary is not None
    assert columns["tokens_per_second"] == round(judgement.summary.generation_tokens_per_s.mean, 4)
    assert columns["verdict"] == judgement.verdict


def test_each_engine_has_its_own() -> None:
    assert list(row(record_of("vllm")))[:2] == ["Model ID", "Input Length"]


def test_no_row() -> None:
    assert row(record_of("fake")) == {}, "it had no script"
    assert row(record_of("not-installed-here")) == {}
    assert row(record_of("transformers", of_another_version="yes")) == {}
    assert row(record_of("transformers", Outcome.CRASHED)) == {}
