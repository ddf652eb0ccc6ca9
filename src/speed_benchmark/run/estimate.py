"""What a cell will take, from its config and the device: memory, the least number of GPUs, time."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import psutil

from speed_benchmark.cell import QUICK_WINDOW_TOKENS, Cell, canonical_json
from speed_benchmark.machine import nvml
from speed_benchmark.models import checkpoint
from speed_benchmark.record.record import Outcome, Record

Config = dict[str, Any]

# Before it sizes its cache vLLM tries out so many tokens at once (`max_num_batched_tokens` of its `LLM` class): more on
# GPUs of 70 GiB and more, the A100 excepted.
VLLM_BATCH_TOKENS, VLLM_BATCH_TOKENS_LARGE = 8192, 16384
LARGE_BYTES = 70 * 2**30
# What the driver and fragments leave of a GPU: in the report 93 % fitted, and 95 % did not.
USABLE_SHARE = 0.94
# cuBLAS keeps so much for itself on each GPU.
WORKSPACE_BYTES = 32 * 2**20
# Least seconds of a layer in one decoding step, of plain and of quantised weights, and of starting an engine; from
# records on an H200. How long a layer of transformers takes is up to the host's processor.
LAYER_S = {"transformers": (0.9e-3, 1.1e-3), "vllm": (0.071e-3, 0.088e-3)}
START_S = {"transformers": 15.0, "vllm": 45.0}
# A compiled layer of transformers in CUDA graphs; the compilation, in the first request.
COMPILED_LAYER_S, COMPILE_S = 0.118e-3, 19.0
# On Hopper and later PyTorch's attention is cuDNN's, which plans each length of a sequence when it first comes: so long
# for each token of a first request of transformers, whatever the model.
PLANS_LENGTHS = (9, 0)
NEW_LENGTH_S = 0.043
# The share of the theoretical memory bandwidth, and the arithmetic, that large models reach.
BANDWIDTH_SHARE = 0.9
GPU_FLOPS = 1.5e14
CPU_FLOPS = 1e11
CPU_BYTES_PER_S = 1e10
LOAD_BYTES_PER_S = 1e9


@dataclass(frozen=True)
class Device:
    """The GPUs that a load may use, or the CPU (`gpus` 0): memory, bandwidth, name and generation of one of them."""

    gpus: int
    memory_bytes: int
    bytes_per_s: float
    name: str = ""
    compute_capability: tuple[int, int] = (0, 0)

    @property
    def vllm_batch_tokens(self) -> int:
        """How many tokens vLLM tries out at once on it."""
        large = self.gpus and self.memory_bytes >= LARGE_BYTES and "a100" not in self.name.lower()
        return VLLM_BATCH_TOKENS_LARGE if large else VLLM_BATCH_TOKENS


@dataclass(frozen=True)
class Need:
    """Memory that a cell needs in all, over all its GPUs, by its parts, in bytes."""

    weight_bytes: int
    kv_cache_bytes: int
    activation_bytes: int

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return self.weight_bytes + self.kv_cache_bytes + self.activation_bytes


def device(gpus: Sequence[int]) -> Device:
    """The device of a load on `gpus` (physical indices; none: the CPU), as small as its smallest GPU."""
    if not gpus:
        return Device(0, psutil.virtual_memory().total, CPU_BYTES_PER_S)
    known = [nvml.describe(gpu) for gpu in gpus]
    return Device(
        gpus=len(gpus),
        name=known[0].name,
        memory_bytes=min(gpu.memory_bytes for gpu in known),
        bytes_per_s=min(nvml.memory_bytes_per_s(gpu) or 1e12 for gpu in gpus),
        compute_capability=nvml.compute_capability(gpus[0]) or (0, 0),
    )


def need(cell: Cell, config: Config, on: Device) -> Need:
    """The memory of `cell` on that device.

    Weights as the checkpoint holds them. Key-value cache: a key and a value per layer, key-value head and head
    dimension, for each token; vLLM wants room for `max_model_len` tokens. Activations peak in the MLP of the prefill:
    gate, up and their product, beside four hidden states, for all tokens at once, on each GPU. Within 6 % of the
    112 figures of the Qwen2.5 report for transformers, AWQ with input 1 aside.
    """
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    value_bytes = 4 if cell.settings.dtype == "float32" else 2
    per_token = 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_size * value_bytes
    kept_tokens, batch_tokens = cell.total_tokens, cell.workload.context_length
    split = 1
    if cell.settings.engine == "vllm":
        kept_tokens = cell.settings.max_model_len or kept_tokens
        batch_tokens = min(on.vllm_batch_tokens, kept_tokens)
        split = max(1, on.gpus)  # tensor parallel: each GPU has its share of the MLP
    per_batch_token = (3 * config["intermediate_size"] // split + 4 * config["hidden_size"]) * value_bytes
    return Need(
        weight_bytes=weight_bytes(config),
        kv_cache_bytes=per_token * kept_tokens,
        activation_bytes=per_batch_token * batch_tokens * max(1, on.gpus) + WORKSPACE_BYTES * on.gpus,
    )


def weight_bytes(config: Config) -> int:
    """Bytes of the weights of a checkpoint of this `config`, one of a known shape."""
    known = _weight_bytes(canonical_json(config))
    assert known is not None  # noqa: S101 - asked before
    return known


def fits(cell: Cell, config: Config, on: Device) -> bool:
    """Whether `cell` will fit, as far as can be said."""
    share = 1.0 if cell.settings.gpu_memory_utilization or not on.gpus else USABLE_SHARE
    return need(cell, config, on).total_bytes <= share * _room_bytes(cell, on)


def misfit(cell: Cell, config: Config | None, on: Device) -> str | None:
    """Why `cell` can't fit, None where it may: weights and key-value cache alone are more than there is."""
    if not on.memory_bytes or config is None or cell.settings.engine not in START_S or not known_shape(config):
        return None
    needed = need(cell, config, on)
    least, room = needed.weight_bytes + needed.kv_cache_bytes, _room_bytes(cell, on)
    if least <= room:
        return None
    where = f"{on.gpus} GPUs have" if on.gpus > 1 else "the GPU has" if on.gpus else "this machine has"
    weights, cache = f"{needed.weight_bytes / 2**30:.1f} GiB", f"{needed.kv_cache_bytes / 2**30:.1f} GiB"
    return (
        f"weights of {weights} and a key-value cache of {cache} are more than the {room / 2**30:.1f} GiB that {where}"
    )


def least_gpus(cell: Cell, config: Config, pool: Sequence[int]) -> int:
    """The report's rule, as few GPUs as possible: how many of `pool` the cell fits on; all of them if on none."""
    if not pool:
        return 0
    all_of_them = device(pool)
    heads = config["num_attention_heads"]
    for gpus in range(1, len(pool) + 1):
        splits = cell.settings.engine != "vllm" or heads % gpus == 0
        if splits and fits(cell, config, replace(all_of_them, gpus=gpus)):
            return gpus
    return max(gpus for gpus in range(1, len(pool) + 1) if cell.settings.engine != "vllm" or heads % gpus == 0)


def request_s(cell: Cell, config: Config, on: Device) -> float:
    """Seconds of one request: the prompt at the arithmetic's pace, then each token at the memory's or the host's.

    Of a quick measurement, of both its windows.
    """
    needed, settings = need(cell, config, on), cell.settings
    kept = needed.kv_cache_bytes * cell.total_tokens // max(cell.total_tokens, settings.max_model_len or 0)
    flops = 2 * (needed.weight_bytes / 2) * cell.workload.context_length  # at least 2 for each weight and token
    prefill_s = flops / (GPU_FLOPS * on.gpus if on.gpus else CPU_FLOPS)
    # transformers runs one GPU after the other, vLLM all at once
    at_once = on.gpus if settings.engine == "vllm" and on.gpus else 1
    read_s = (needed.weight_bytes + kept) / (on.bytes_per_s * BANDWIDTH_SHARE * at_once)
    plain_s, quantized_s = LAYER_S.get(settings.engine, (0.0, 0.0))
    plain_s = COMPILED_LAYER_S if settings.compile and on.gpus else plain_s
    layers_s: float = config["num_hidden_layers"] * (quantized_s if "quantization_config" in config else plain_s)
    # a host that launches kernel by kernel runs ahead of the device, so that the slower of the two sets the pace
    eager = settings.engine == "transformers" and on.gpus and not settings.compile
    step_s = max(layers_s, read_s) if eager else layers_s + read_s
    prefills, tokens = 1, cell.workload.generate_length
    if cell.protocol.quick:
        prefills, tokens = 2, 2 * QUICK_WINDOW_TOKENS
    return prefills * prefill_s + tokens * step_s


def first_request_s(cell: Cell, on: Device) -> float:
    """Seconds that the first request of a process takes beyond what the later ones do."""
    settings = cell.settings
    if settings.engine != "transformers" or not on.gpus:
        return 0.0
    if settings.compile:
        return COMPILE_S
    planned = settings.attn_implementation == "sdpa" and on.compute_capability >= PLANS_LENGTHS
    return NEW_LENGTH_S * (2 * QUICK_WINDOW_TOKENS if cell.protocol.quick else cell.workload.generate_length) * planned


def requests_s(cell: Cell, config: Config, on: Device) -> float:
    """Seconds of all requests of one process of `cell`, if it repeats no more often than it has to."""
    count = cell.protocol.warmups + cell.protocol.repeats
    return first_request_s(cell, on) + count * request_s(cell, config, on)


def load_s(cell: Cell, config: Config) -> float:
    """Seconds of starting the engine and loading the weights."""
    return START_S.get(cell.settings.engine, 1.0) + weight_bytes(config) / LOAD_BYTES_PER_S


def calibration(records: Iterable[tuple[Record, Config | None]]) -> dict[str, float]:
    """Engine -> measured over predicted time of requests: the median of the records, each with its config."""
    ratios: dict[str, list[float]] = {}
    for record, config in records:
        if record.outcome is Outcome.OK and record.samples and config and known_shape(config):
            ratio = measured_over_predicted(record, config, device(record.gpus))
            ratios.setdefault(record.cell.settings.engine, []).append(ratio)
    return {engine: statistics.median(values) for engine, values in ratios.items()}


def measured_over_predicted(record: Record, config: Config, on: Device) -> float:
    """How long the requests of a record took, against what is predicted for as many of them."""
    cell, requests = record.cell, (*record.warmups, *record.samples)
    count = len(requests) / (2 if cell.protocol.quick else 1)
    predicted_s = cell.protocol.processes * first_request_s(cell, on) + count * request_s(cell, config, on)
    return sum(request.duration_s for request in requests) / predicted_s


def _room_bytes(cell: Cell, on: Device) -> int:
    """What the engine may take of the device's memory."""
    share = cell.settings.gpu_memory_utilization if on.gpus else None
    return int(on.memory_bytes * max(1, on.gpus) * (share or 1.0))


def known_shape(config: Config) -> bool:
    """Whether the config is of the kind whose tensors, and so whose needs, are known here."""
    return _weight_bytes(canonical_json(config)) is not None


@cache
def _weight_bytes(config_json: str) -> int | None:
    try:
        return checkpoint.weight_bytes(json.loads(config_json))
    except ValueError:
        return None
