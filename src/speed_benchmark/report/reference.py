"""The figures of the Qwen2.5 speed benchmark page, and one's own beside them."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

MACHINE = "NVIDIA A100 80GB, CUDA 12.1"
SOFTWARE = {
    "transformers": "transformers 4.46.0, PyTorch 2.3.1, FlashAttention 2.5.8, AutoGPTQ 0.7.1, AutoAWQ 0.2.6",
    "vllm": "vLLM 0.6.3, PyTorch 2.4.0, FlashAttention 2.6.3, transformers 4.46.0",
}
SOURCE = "https://qwen.readthedocs.io/en/v2.5/benchmark/speed_benchmark.html"
GENERATED_TOKENS = 2048


@dataclass(frozen=True)
class Published:
    """One row of the page; `memory_gib` is None for vLLM, of which the page prints none."""

    engine: str
    model: str
    input_tokens: int
    quantization: str
    gpu_count: int
    tokens_per_s: float
    memory_gib: float | None
    note: str


@cache
def published() -> tuple[Published, ...]:
    """All rows, in the order of the page."""
    text = (files("speed_benchmark.report") / "data" / "qwen2.5_a100.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            engine=row["engine"],
            model=row["model"],
            input_tokens=int(row["input_tokens"]),
            quantization=row["quantization"],
            gpu_count=int(row["gpus"]),
            tokens_per_s=float(row["tokens_per_s"]),
            memory_gib=float(row["gpu_memory_gib"]) if row["gpu_memory_gib"] else None,
            note=row["note"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def matching(engine: str, model: str, input_tokens: int, quantization: str, gpu_count: int) -> Published | None:
    """The page's row for a cell: the one with as many GPUs where it has several, else its first."""
    key = (engine, model, input_tokens, quantization)
    found = [row for row in published() if key == (row.engine, row.model, row.input_tokens, row.quantization)]
    return next((row for row in found if row.gpu_count == gpu_count), found[0] if found else None)
