"""Records made by hand: as the engine for tests measures them, to the exact figure, on a fixed machine."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.judge.judge import judged
from speed_benchmark.record.engine import Loaded, Sampling
from speed_benchmark.record.format import seal
from speed_benchmark.record.machine import Gpu, Machine, MachineState
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.record import Checkpoint, Provenance, Record
from speed_benchmark.record.sample import Memory, Sample
from speed_benchmark.record.sample import Sequence as Tokens
from speed_benchmark.report.gather import Found
from speed_benchmark.report.pool import entry, rows
from speed_benchmark.report.rows import Row
from speed_benchmark.report.words import Language

Vary = Callable[..., Record]

GIB = 2**30
GENERATE = 80
# Seconds to the first token, and of each later one.
REPEATS_S = ((0.1, 0.0101), (0.1, 0.0099), (0.1, 0.0102), (0.1, 0.01), (0.1, 0.0098), (0.1, 0.0103), (0.1, 0.01))
COLD_S = ((0.5, 0.01),) * 3
CPU = Machine(processor="AMD EPYC 9555", cores=16, memory_bytes=128 * GIB, system="Linux 6.8")
GPU = CPU.model_copy(
    update={
        "gpus": (Gpu(index=0, name="NVIDIA H100 80GB HBM3", memory_bytes=80 * GIB, power_limit_w=700.0),),
        "driver": "570.86.15",
        "cuda": "12.8",
    }
)
MOMENT = MachineState(unix_s=1e9, load_1min=0.1, memory_available_bytes=100 * GIB)
LOADED = Loaded(
    attention_implementation="fake",
    quantization="BF16",
    dtype="bfloat16",
    execution="eager",
    weight_bytes=10**9,
    rope="default",
    devices=("fake",),
)
SAMPLING = Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1)


def sample(first_s: float, token_s: float, batch_size: int = 1, tokens: int = GENERATE) -> Sample:
    """A request whose tokens come at an even pace; each further sequence starts a millisecond later."""
    sequences = [
        Tokens(
            token_times_s=tuple(first_s + index / 1000 + token_s * number for number in range(tokens)),
            prompt_tokens=6,
            output_tokens=tokens,
            output_digest=f"sha256:{index}",
        )
        for index in range(batch_size)
    ]
    last_s = max(sequence.token_times_s[-1] for sequence in sequences)
    return Sample(started_at_unix_s=1e9, duration_s=last_s, sequences=tuple(sequences))


def record(
    times_s: Sequence[tuple[float, float]] = REPEATS_S,
    *,
    warmups: int = 1,
    batch_size: int = 1,
    tokens: int = GENERATE,
    **changes: Any,
) -> Record:
    """A record of one cell, with a repeat for each of `times_s`."""
    cell = Cell(
        model=Model(model_id_or_path="Qwen/Qwen2.5-0.5B-Instruct"),
        workload=Workload(context_length=6, generate_length=tokens, batch_size=batch_size),
        settings=EngineSettings(engine="transformers"),
        protocol=Protocol(repeats=len(times_s) or 3, warmups=warmups),
    )
    made = Record(
        cell_id=cell.cell_id,
        cell=cell,
        created_at="2026-01-02T03:04:05+00:00",
        outcome=Outcome.OK,
        prompt="random",
        sampling=SAMPLING,
        loaded=LOADED,
        warmups=tuple(sample(0.1, 0.01, batch_size, tokens) for _ in range(warmups)),
        samples=tuple(sample(*times, batch_size, tokens) for times in times_s),
        machine=CPU,
        machine_before=MOMENT,
        machine_after=MOMENT,
        provenance=Provenance(tool_version="0"),
    )
    return placed(made.model_copy(update=changes))


def placed(record: Record) -> Record:
    """The record with its requests one after the other, process by process, just before it was made."""
    requests = sorted((*record.warmups, *record.samples), key=lambda request: request.process)  # warm-ups stay first
    moment_s = datetime.fromisoformat(record.created_at).timestamp()
    starts_s = {}
    for request in reversed(requests):
        moment_s -= request.duration_s + 1
        starts_s[id(request)] = moment_s

    def moved(requests: Sequence[Sample]) -> tuple[Sample, ...]:
        return tuple(one.model_copy(update={"started_at_unix_s": starts_s[id(one)]}) for one in requests)

    return record.model_copy(update={"warmups": moved(record.warmups), "samples": moved(record.samples)})


def measured() -> dict[str, Record]:
    """Records by what happened: ok, doubtful, oom, invalid."""
    fewer = sample(0.5, 0.01, tokens=GENERATE - 1)
    invalid = record(COLD_S)
    full = Cause(message="OutOfMemoryError: the fake device is full", stage="repeat")
    return {
        "ok": record(),
        "doubtful": record(COLD_S, warmups=0),
        "oom": record((), outcome=Outcome.OOM, cause=full),
        "invalid": invalid.model_copy(update={"samples": (invalid.samples[0], fewer, invalid.samples[2])}),
    }


def vary(record: Record, **changes: Any) -> Record:
    """A record made from another one: another model, engine or length, on a fixed machine."""
    gpus, engine = changes.pop("gpus", 0), changes.pop("engine", "transformers")
    quantization, factor = changes.pop("quantization", "BF16"), changes.pop("factor", 1.0)
    length, ahead = changes.pop("input_tokens", 6), engine == "vllm"
    name = ("device_used_bytes" if ahead else "allocator_peak_allocated_bytes") if gpus else "host_peak_rss_bytes"
    memory = Memory(**{name: changes.pop("memory_bytes", GIB)})
    cell = replace(
        record.cell,
        model=replace(record.cell.model, model_id_or_path=changes.pop("model", "Qwen/Qwen2.5-0.5B-Instruct")),
        workload=replace(record.cell.workload, context_length=length),
        settings=replace(
            record.cell.settings,
            engine=engine,
            gpu_count=gpus,
            options=changes.pop("options", {"gpu_memory_utilization": 0.9} if ahead else {}),
        ),
        protocol=replace(record.cell.protocol, **changes.pop("protocol", {})),
    )
    loaded = record.loaded and record.loaded.model_copy(update={"quantization": quantization, "preallocates": ahead})
    fixed: dict[str, Any] = {
        "cell": cell,
        "cell_id": cell.cell_id,
        "samples": tuple(_varied(sample, factor, length, memory) for sample in record.samples),
        "gpus": tuple(range(gpus)),
        "machine": GPU if gpus else CPU,
        "provenance": Provenance(
            tool_version="0.1.0", packages={"torch": "2.13.0", "transformers": "5.19.0", "vllm": "0.32.0"}
        ),
        "checkpoint": Checkpoint(source="huggingface", quantization=quantization),
        "loaded": loaded,
    }
    return seal(placed(record.model_copy(update=fixed | changes)))


def golden() -> list[Record]:
    """Two engines, three formats, three lengths, and a cell of each outcome; the same bytes on every machine."""
    seen = measured()
    found = [
        vary(
            seen["ok"],
            model=f"Qwen/Qwen2.5-0.5B-Instruct{'' if quantization == 'BF16' else f'-{quantization}'}",
            quantization=quantization,
            engine=engine,
            gpus=1,
            input_tokens=length,
            factor=speedup * (1 + length / 1e5) * (0.3 if engine == "vllm" else 1),
            memory_bytes=GIB + length * 2**16 - place * 2**27,
        )
        for place, (quantization, speedup) in enumerate((("BF16", 1.0), ("GPTQ-Int4", 0.8), ("AWQ", 0.9)))
        for length in (1, 6144, 14336)
        for engine in ("transformers", "vllm")
    ]
    found.append(vary(seen["doubtful"], gpus=1, input_tokens=30720))
    found.append(vary(seen["oom"], gpus=1, input_tokens=63488))
    found.append(vary(seen["invalid"], gpus=1, input_tokens=129024))
    return found


def _varied(sample: Sample, factor: float, length: int, memory: Memory) -> Sample:
    sequences = tuple(
        sequence.model_copy(
            update={
                "prompt_tokens": length,
                "token_times_s": tuple(time * factor for time in sequence.token_times_s),
            }
        )
        for sequence in sample.sequences
    )
    changes = {"sequences": sequences, "duration_s": sample.duration_s * factor, "memory": memory}
    return sample.model_copy(update=changes)


def shown(records: Sequence[Record], language: Language = "en") -> list[Row]:
    """The rows of records, as if they lay in a folder."""
    found = (Found(Path(str(index)), f"{index}.json", judged(record)) for index, record in enumerate(records))
    return rows((entry(one, language) for one in found), language, again=lambda path: records[int(str(path))])
