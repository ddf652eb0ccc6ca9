"""Stores of records that the fake engine made, and a browser where one is installed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from speed_benchmark.cell import Cell
from speed_benchmark.judge.checks import judge
from speed_benchmark.models.synthetic import synthesize
from speed_benchmark.record.record import Checkpoint, Gpu, Machine, Memory, Provenance, Record
from speed_benchmark.record.store import Store, read

GIB = 2**30
TINY = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 256,
    "max_position_embeddings": 32768,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 1024,
}
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1}
REPEATS_S = ((0.1, 0.0101), (0.1, 0.0099), (0.1, 0.0102), (0.1, 0.01), (0.1, 0.0098), (0.1, 0.0103), (0.1, 0.01))
CPU = Machine(processor="AMD EPYC 9555", cores=16, memory_bytes=128 * GIB, system="Linux 6.8")
GPU = CPU.model_copy(
    update={
        "gpus": (Gpu(index=0, name="NVIDIA H100 80GB HBM3", memory_bytes=80 * GIB, power_limit_w=700.0),),
        "driver": "570.86.15",
        "cuda": "12.8",
    }
)

Vary = Callable[..., Record]


def measure(folder: Path, out: Path, *options: object, **script: Any) -> Record:
    """Run the fake engine as a user does; the record it leaves."""
    model = synthesize(TINY, SAMPLING, folder / f"{out.name}" / "Qwen2.5-0.5B-Instruct")
    (model / "fake.json").write_text(json.dumps(script))
    subprocess.run(
        [
            *(sys.executable, "-m", "speed_benchmark", "run", "--engine", "fake", "--model_id_or_path", str(model)),
            *("--context_length", "6", "--generate_length", "80", "--outputs_dir", str(out), "--quiet", "--json"),
            *map(str, options),
        ],
        check=False,
        capture_output=True,
        timeout=120,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    return read(next(out.glob("*.json")))


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """Real records by what happened: ok, doubtful, oom, invalid."""
    folder = tmp_path_factory.mktemp("measured")
    requests = {str(index): times for index, times in enumerate(((0.1, 0.01), *REPEATS_S))}
    return {
        "ok": measure(folder, folder / "ok", "--repeats", 7, requests=requests),
        "doubtful": measure(folder, folder / "doubtful", "--warmups", 0),
        "oom": measure(folder, folder / "oom", faults=[{"at": "generate", "action": "oom", "request": 1}]),
        "invalid": measure(
            folder, folder / "invalid", faults=[{"at": "generate", "action": "fewer_tokens", "request": 2}]
        ),
    }


@pytest.fixture(scope="session")
def vary() -> Vary:
    """A record made from another one: another model, engine or length, on a fixed machine, judged anew."""

    def make(record: Record, **changes: Any) -> Record:
        gpus = changes.pop("gpus", 0)
        model = changes.pop("model", "Qwen/Qwen2.5-0.5B-Instruct")
        quantization = changes.pop("quantization", "BF16")
        factor = changes.pop("factor", 1.0)
        engine = changes.pop("engine", "transformers")
        length = changes.pop("input_tokens", 6)
        protocol = changes.pop("protocol", {})
        memory = changes.pop("memory_bytes", 1 * GIB)
        cell: Cell = record.cell
        cell = replace(
            cell,
            model=replace(cell.model, model_id_or_path=model),
            workload=replace(cell.workload, context_length=length),
            settings=replace(
                cell.settings,
                engine=engine,
                gpu_count=gpus,
                gpu_memory_utilization=0.9 if engine == "vllm" else None,
            ),
            protocol=replace(cell.protocol, **protocol),
        )
        on_gpu = "device_used_bytes" if engine == "vllm" else "allocator_peak_allocated_bytes"
        name = on_gpu if gpus else "host_peak_rss_bytes"
        samples = tuple(
            sample.model_copy(
                update={
                    "prompt_tokens": length,
                    "duration_s": sample.duration_s * factor,
                    "token_times_s": tuple(time * factor for time in sample.token_times_s),
                    "memory": Memory(**{name: memory}),
                    "started_at_s": None,
                    "ended_at_unix_s": None,
                    "readings": None,
                }
            )
            for sample in record.samples
        )
        fixed: dict[str, Any] = {
            "cell": cell,
            "cell_id": cell.cell_id,
            "created_at": "2026-01-02T03:04:05+00:00",
            "samples": samples,
            "gpus": tuple(range(gpus)),
            "machine": GPU if gpus else CPU,
            "provenance": Provenance(
                tool_version="0.1.0", packages={"torch": "2.13.0", "transformers": "5.19.0", "vllm": "0.32.0"}
            ),
            "checkpoint": Checkpoint(source="huggingface", quantization=quantization),
            "loaded": record.loaded and record.loaded.model_copy(update={"quantization": quantization}),
        }
        changed = judge(record.model_copy(update=fixed | changes))
        return changed.model_copy(update={"record_id": changed.derived_id()})

    return make


@pytest.fixture(scope="session")
def golden_records(measured: dict[str, Record], vary: Vary) -> list[Record]:
    """Two engines, three formats, three lengths, and a cell of each outcome; the same bytes on every machine."""
    found = []
    for place, (quantization, speedup) in enumerate((("BF16", 1.0), ("GPTQ-Int4", 0.8), ("AWQ", 0.9))):
        for length in (1, 6144, 14336):
            for engine in ("transformers", "vllm"):
                suffix = "" if quantization == "BF16" else f"-{quantization}"
                found.append(
                    vary(
                        measured["ok"],
                        model=f"Qwen/Qwen2.5-0.5B-Instruct{suffix}",
                        quantization=quantization,
                        engine=engine,
                        gpus=1,
                        input_tokens=length,
                        factor=speedup * (1 + length / 1e5) * (0.3 if engine == "vllm" else 1),
                        memory_bytes=GIB + length * 2**16 - place * 2**27,
                    )
                )
    found.append(vary(measured["doubtful"], gpus=1, input_tokens=30720))
    found.append(vary(measured["oom"], gpus=1, input_tokens=63488))
    found.append(vary(measured["invalid"], gpus=1, input_tokens=129024))
    return found


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """Writes records to a folder below the test's own and gives the folder."""

    def write(records: list[Record], name: str = "records") -> Path:
        folder = tmp_path / name
        store = Store(folder)
        store.open()
        for record in records:
            store.write(record)
        return folder

    return write


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium without a window; skipped where none is installed, except in CI."""
    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if path is None:
        message = "no browser is installed: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu")
    flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()
