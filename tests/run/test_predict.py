"""Predictions, against the Qwen2.5 report and against what was measured on an H200."""

from pathlib import Path

import pytest

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.models import catalogue
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from speed_benchmark.report.reference import Published, published
from speed_benchmark.run.estimate import Config, Device, fits, least_gpus, measured_over_predicted, misfit, need

GIB = 2**30
A100 = Device(gpus=1, memory_bytes=80 * GIB, bytes_per_s=2.04e12, name="NVIDIA A100-SXM4-80GB")
H200 = Device(gpus=1, memory_bytes=140 * GIB, bytes_per_s=4.8e12, name="NVIDIA H200", compute_capability=(9, 0))
RESULTS = Path(__file__).parents[2] / "results"


def cell(engine: str, model: str, context: int, **settings: object) -> tuple[Cell, Config]:
    entry = catalogue.lookup(f"Qwen/{model}")
    assert entry is not None
    if engine == "vllm":
        settings = {"max_model_len": 32768, "gpu_memory_utilization": 0.9} | settings
    return (
        Cell(
            model=Model(model_id_or_path=entry.model_id),
            workload=Workload(context_length=context),
            settings=EngineSettings(engine=engine, **settings),  # type: ignore[arg-type]
            protocol=Protocol(),
        ),
        entry.config,
    )


def of(row: Published) -> tuple[Cell, Config]:
    suffix = "" if row.quantization == "BF16" else f"-{row.quantization}"
    return cell(row.engine, row.model + suffix, row.input_tokens)


def on(device: Device, gpus: int) -> Device:
    return Device(gpus, device.memory_bytes, device.bytes_per_s, device.name)


def test_memory_is_within_ten_percent_of_the_report() -> None:
    """AWQ with input 1 aside: a kernel of then unpacked a weight for it, up to 0.5 GiB."""
    rows = [row for row in published() if row.memory_gib is not None]
    errors = []
    for row in rows:
        if row.memory_gib is not None and (row.quantization, row.input_tokens) != ("AWQ", 1):
            predicted = need(*of(row), on(A100, row.gpu_count)).total_bytes / GIB
            errors.append(abs(predicted / row.memory_gib - 1))
    assert len(errors) == 105
    assert max(errors) < 0.06


@pytest.mark.parametrize(
    ("model", "weights_gib", "activations_gib"),
    [
        ("Qwen2.5-0.5B-Instruct", 0.920, 0.56),
        ("Qwen2.5-0.5B-Instruct-GPTQ-Int4", 0.428, 0.53),
        ("Qwen2.5-7B-Instruct", 14.19, 2.15),
        ("Qwen2.5-7B-Instruct-GPTQ-Int4", 5.19, 2.12),
    ],
)
def test_vllm_memory_as_measured_on_an_h200(model: str, weights_gib: float, activations_gib: float) -> None:
    predicted = need(*cell("vllm", model, 6144), H200)
    assert predicted.weight_bytes / GIB == pytest.approx(weights_gib, rel=0.01)
    assert predicted.activation_bytes / GIB == pytest.approx(activations_gib, rel=0.15)


MEASURED = [
    record
    for folder in ("nvidia-h200", "nvidia-h200-compiled")
    for _, record in Store(RESULTS / folder).records()
    if isinstance(record, Record)
]


def config_of(record: Record) -> Config:
    entry = catalogue.lookup(record.cell.model.model_id_or_path)
    assert entry
    return entry.config


def name(record: Record) -> str:
    cell = record.cell
    compiled = " compiled" if cell.settings.compile else ""
    return f"{cell.settings.engine}{compiled} {cell.model.model_id_or_path} {cell.workload.context_length}"


@pytest.mark.parametrize("record", MEASURED, ids=name)
def test_time_is_within_a_quarter_of_an_h200s(record: Record) -> None:
    """Of all requests, the first one with all that it has to prepare included."""
    assert measured_over_predicted(record, config_of(record), H200) == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("record", MEASURED, ids=name)
def test_memory_is_within_ten_percent_of_an_h200s(record: Record) -> None:
    """What the cell needs; vLLM's key-value cache has room for more tokens than the cell's, as it was asked."""
    assert record.summary
    assert record.summary.need
    measured = record.summary.need
    predicted = need(record.cell, config_of(record), H200)
    assert measured.kv_cache_bytes is not None
    assert measured.minimum_to_run_bytes is not None
    total_bytes = predicted.total_bytes - predicted.kv_cache_bytes + measured.kv_cache_bytes
    assert total_bytes == pytest.approx(measured.minimum_to_run_bytes, rel=0.10)


@pytest.mark.parametrize(
    ("model", "context", "gpus"),
    [
        ("Qwen2.5-7B-Instruct", 30720, 1),
        ("Qwen2.5-32B-Instruct-AWQ", 30720, 1),
        ("Qwen2.5-72B-Instruct-GPTQ-Int4", 6144, 1),
        ("Qwen2.5-72B-Instruct-GPTQ-Int8", 6144, 2),
        ("Qwen2.5-72B-Instruct", 30720, 3),
    ],
)
def test_as_few_gpus_as_the_report(model: str, context: int, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed_benchmark.run.estimate.device", lambda pool: on(A100, len(pool)))
    assert least_gpus(*cell("transformers", model, context), range(8)) == gpus


def test_tensor_parallel_takes_a_number_that_divides_the_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed_benchmark.run.estimate.device", lambda pool: on(A100, len(pool)))
    assert least_gpus(*cell("vllm", "Qwen2.5-72B-Instruct", 6144), range(8)) == 4, "64 heads are not split over 3"


def test_what_cannot_fit_says_why() -> None:
    asked = cell("vllm", "Qwen2.5-72B-Instruct", 1)
    reason = misfit(*asked, A100)
    assert reason is not None
    assert "135.4 GiB" in reason
    assert not fits(*asked, A100)
    assert misfit(*asked, on(A100, 4)) is None
