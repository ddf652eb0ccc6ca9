"""Estimates of memory, against the Qwen2.5 report and against what was measured on an H200."""

from dataclasses import replace
from pathlib import Path

import pytest

from speed_benchmark.cell import Cell, EngineSettings, Model, OptionValue, Protocol, Workload
from speed_benchmark.judge.judge import judge
from speed_benchmark.machine.device import Device
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from speed_benchmark.report.reference import Published, publication
from speed_benchmark.run import estimate
from speed_benchmark.run.estimate import fits, least_gpus, misfit
from tests.shapes import published_shape

GIB = 2**30
A100 = Device(gpus=1, memory_bytes=80 * GIB, bytes_per_s=2.04e12, name="NVIDIA A100-SXM4-80GB")
H200 = Device(gpus=1, memory_bytes=140 * GIB, bytes_per_s=4.8e12, name="NVIDIA H200", compute_capability=(9, 0))
RESULTS = Path(__file__).parents[2] / "results"


def cell(engine: str, model: str, context: int, batch_size: int = 1, **options: OptionValue) -> tuple[Cell, Shape]:
    asked = Cell(
        model=Model(model_id_or_path=model if "/" in model else f"Qwen/{model}"),
        workload=Workload(context_length=context, batch_size=batch_size),
        settings=EngineSettings(engine=engine, options=options),
        protocol=Protocol(),
    )
    return asked, shape_of(asked)


def shape_of(cell: Cell) -> Shape:
    return published_shape(cell.model.model_id_or_path)


def of(row: Published) -> tuple[Cell, Shape]:
    suffix = "" if row.quantization == "BF16" else f"-{row.quantization}"
    return cell(row.engine, row.model + suffix, row.context_length)


def on(device: Device, gpus: int) -> Device:
    return Device(gpus, device.memory_bytes, device.bytes_per_s, device.name)


def test_memory_is_within_ten_percent_of_the_report() -> None:
    """AWQ with input 1 aside: a kernel of then unpacked a weight for it, up to 0.5 GiB."""
    rows = [row for row in publication("qwen2.5").rows if row.memory_gib is not None]
    errors = []
    for row in rows:
        if row.memory_gib is not None and (row.quantization, row.context_length) != ("AWQ", 1):
            estimated = estimate.memory(*of(row), on(A100, row.gpu_count)).total_bytes / GIB
            errors.append(abs(estimated / row.memory_gib - 1))
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
    estimated = estimate.memory(*cell("vllm", model, 6144), H200)
    assert estimated.weight_bytes / GIB == pytest.approx(weights_gib, rel=0.01)
    assert estimated.activation_bytes / GIB == pytest.approx(activations_gib, rel=0.15)


MEASURED = [
    record
    for folder in ("nvidia-h200", "nvidia-h200-compiled")
    for _, record in Store(RESULTS / folder).records()
    if isinstance(record, Record)
]


def name(record: Record) -> str:
    cell = record.cell
    compiled = " compiled" if cell.settings.options.get("compile") else ""
    return f"{cell.settings.engine}{compiled} {cell.model.model_id_or_path} {cell.workload.context_length}"


@pytest.mark.parametrize("record", MEASURED, ids=name)
def test_memory_is_within_ten_percent_of_an_h200s(record: Record) -> None:
    """What the cell needs; vLLM's key-value cache has room for more tokens than the cell's, as it was asked."""
    summary = judge(record).summary
    assert summary
    assert summary.need
    measured = summary.need
    estimated = estimate.memory(record.cell, shape_of(record.cell), H200)
    assert measured.kv_cache_bytes is not None
    assert measured.as_started_bytes is not None
    total_bytes = estimated.total_bytes - estimated.kv_cache_bytes + measured.kv_cache_bytes
    assert total_bytes == pytest.approx(measured.as_started_bytes, rel=0.10)


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


def test_a_batch_needs_a_cache_for_each_sequence() -> None:
    one, four = (
        estimate.memory(*cell("transformers", "Qwen2.5-7B-Instruct", 6144, batch_size=size), A100) for size in (1, 4)
    )
    assert four.weight_bytes == one.weight_bytes
    assert four.kv_cache_bytes == 4 * one.kv_cache_bytes
    assert four.activation_bytes - estimate.WORKSPACE_BYTES == 4 * (one.activation_bytes - estimate.WORKSPACE_BYTES)


def test_vllm_shares_one_cache_and_runs_so_many_tokens_of_a_prefill_at_once() -> None:
    """16 sequences of 8192 tokens are 131072 of its cache, which holds 32768 whatever is asked."""
    one, four, sixteen = (
        estimate.memory(*cell("vllm", "Qwen2.5-7B-Instruct", 6144, batch_size=size), A100) for size in (1, 4, 16)
    )
    assert one.kv_cache_bytes == four.kv_cache_bytes == sixteen.kv_cache_bytes / 4
    assert one.activation_bytes == four.activation_bytes == sixteen.activation_bytes


def test_a_batch_that_cannot_fit_says_why() -> None:
    assert misfit(*cell("transformers", "Qwen2.5-7B-Instruct", 30720, batch_size=1), A100) is None
    reason = misfit(*cell("transformers", "Qwen2.5-7B-Instruct", 30720, batch_size=64), A100)
    assert reason is not None
    assert "key-value cache of 112.0 GiB" in reason


def test_least_gpus_know_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed_benchmark.run.estimate.device", lambda pool: on(A100, len(pool)))
    one, many = (cell("transformers", "Qwen2.5-14B-Instruct", 6144, batch_size=size) for size in (1, 32))
    assert (least_gpus(*one, range(8)), least_gpus(*many, range(8))) == (1, 2)


def test_plain_weights_take_the_type_that_is_asked_for() -> None:
    asked, shape = cell("transformers", "Qwen2.5-0.5B-Instruct", 10)
    wide = replace(asked, settings=replace(asked.settings, dtype="float32"))
    usual, twice = (estimate.memory(one, shape, A100) for one in (asked, wide))
    assert twice.weight_bytes == 2 * usual.weight_bytes
    assert twice.kv_cache_bytes == 2 * usual.kv_cache_bytes


def test_a_quantised_cache_takes_half() -> None:
    plain, quantised = (
        estimate.memory(*cell("vllm", "Qwen2.5-7B-Instruct", 6144, kv_cache_dtype=dtype), A100).kv_cache_bytes
        for dtype in ("auto", "fp8")
    )
    assert plain == 2 * quantised > 0


def test_windows_cap_the_cache_of_each_sequence() -> None:
    """Gemma 3 4B: 29 layers keep 1,024 tokens of 4 heads with 256 values, keys and values; 5 keep all."""
    tokens, token_bytes = 6144 + 2048, 2 * 4 * 256 * 2
    for engine, sequences, kept in (("transformers", 3, 3 * tokens), ("vllm", 1, 32768)):
        asked, shape = cell(engine, "google/gemma-3-4b-it", 6144, sequences)
        found = estimate.memory(asked, shape, A100).kv_cache_bytes
        assert found == token_bytes * (5 * kept + 29 * 1024 * sequences)


def test_states_do_not_grow() -> None:
    """Qwen3-Next: 12 layers of 48 keep tokens, 2 heads with 256 values, keys and values; the others a state."""
    short, long = (
        estimate.memory(*cell("transformers", "Qwen/Qwen3-Next-80B-A3B-Instruct", length), A100).kv_cache_bytes
        for length in (1, 1001)
    )
    assert long - short == 12 * 2 * 2 * 256 * 2 * 1000
    assert short - 12 * 2 * 2 * 256 * 2 * 2049 == 36 * 2162688


def test_all_experts_lie_in_memory() -> None:
    asked, shape = cell("vllm", "Qwen/Qwen3-30B-A3B", 6144)
    assert estimate.memory(asked, shape, H200).weight_bytes == 61_064_245_248
