"""What a cell will take of memory, from its config and the device, and the least number of GPUs.

What depends on the engine is asked of its settings (`engines.settings`): how it splits a model, and for how many tokens
it makes room. How long it takes is forecast in `run.forecast`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from speed_benchmark.cell import Cell, EngineSettings, canonical_json
from speed_benchmark.engines import registry
from speed_benchmark.machine.device import Device, device
from speed_benchmark.models import checkpoint
from speed_benchmark.models.config import Config

# What the driver and fragments leave of a GPU: in the Qwen2.5 report 93 % fitted, and 95 % did not.
USABLE_SHARE = 0.94
# cuBLAS keeps so much for itself on each GPU.
WORKSPACE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory that a cell needs in all, over all its GPUs, by its parts, in bytes."""

    weight_bytes: int
    kv_cache_bytes: int
    activation_bytes: int

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return self.weight_bytes + self.kv_cache_bytes + self.activation_bytes


def memory(cell: Cell, config: Config, on: Device) -> MemoryEstimate:
    """The memory that `cell` needs on that device.

    Weights as the checkpoint holds them. Key-value cache: that of all sequences, in the room that the engine makes.
    Activations peak in the MLP of the prefill: gate, up and their product, beside four hidden states, for all tokens
    that run at once, on each GPU. Within 6 % of the 112 figures of the Qwen2.5 report, AWQ with input 1 aside.
    """
    own, batch = registry.settings_of(cell.settings), cell.workload.batch_size
    kept_tokens = own.kept_tokens(cell.total_tokens, batch)
    prefill_tokens = own.prefill_tokens(batch * cell.workload.context_length, on)
    split = max(1, on.gpus) if own.traits.split == "tensor" else 1
    token_values = 3 * config["intermediate_size"] // split + 4 * config["hidden_size"]
    activation_bytes = token_values * _value_bytes(cell.settings) * prefill_tokens * max(1, on.gpus)
    return MemoryEstimate(
        weight_bytes=weight_bytes(config),
        kv_cache_bytes=_kv_bytes_per_token(cell, config) * kept_tokens,
        activation_bytes=activation_bytes + WORKSPACE_BYTES * on.gpus,
    )


def weight_bytes(config: Config) -> int:
    """Bytes of the weights of a checkpoint of this `config`, which must be one of a known shape."""
    known = _weight_bytes(canonical_json(config))
    if known is None:
        raise ValueError("the shape of this model is not known")
    return known


def known_shape(config: Config) -> bool:
    """Whether the tensors of a model of this `config`, and so what it needs, are known."""
    return _weight_bytes(canonical_json(config)) is not None


def fits(cell: Cell, config: Config, on: Device) -> bool:
    """Whether `cell` will fit, as far as can be said."""
    share = 1.0 if _memory_share(cell) or not on.gpus else USABLE_SHARE
    return memory(cell, config, on).total_bytes <= share * _available_bytes(cell, on)


def misfit(cell: Cell, config: Config | None, on: Device) -> str | None:
    """Why `cell` can't fit, None where it may: weights and key-value cache alone are more than there is."""
    simulated = registry.settings_of(cell.settings).traits.simulated
    if simulated or not on.memory_bytes or config is None or not known_shape(config):
        return None
    needed = memory(cell, config, on)
    least, available = needed.weight_bytes + needed.kv_cache_bytes, _available_bytes(cell, on)
    if least <= available:
        return None
    where = f"{on.gpus} GPUs have" if on.gpus > 1 else "the GPU has" if on.gpus else "this machine has"
    weights, cache_size = (f"{part / 2**30:.1f} GiB" for part in (needed.weight_bytes, needed.kv_cache_bytes))
    return (
        f"weights of {weights} and a key-value cache of {cache_size} are more than the "
        f"{available / 2**30:.1f} GiB that {where}"
    )


def can_split(settings: EngineSettings, heads: int, gpus: int) -> bool:
    """Whether the engine can spread a model with so many attention heads over so many GPUs."""
    return registry.settings_of(settings).traits.split != "tensor" or heads % gpus == 0


def least_gpus(cell: Cell, config: Config, pool: Sequence[int]) -> int:
    """On how many GPUs of `pool` the cell fits, as few as possible; on as many as can be used if it fits on none."""
    if not pool:
        return 0
    heads, all_of_them = config["num_attention_heads"], device(pool)
    usable = [gpus for gpus in range(1, len(pool) + 1) if can_split(cell.settings, heads, gpus)]
    fitting = (gpus for gpus in usable if fits(cell, config, replace(all_of_them, gpus=gpus)))
    return next(fitting, usable[-1])


def _kv_bytes_per_token(cell: Cell, config: Config) -> int:
    return checkpoint.kv_values_per_token(config) * _value_bytes(cell.settings)


def _value_bytes(settings: EngineSettings) -> int:
    """Bytes of a value of the key-value cache and of the activations."""
    return 4 if settings.dtype == "float32" else 2


def _memory_share(cell: Cell) -> float | None:
    """The share of a GPU's memory that the engine was told to take, where it has such an option."""
    own = registry.settings_of(cell.settings)
    option = own.traits.memory_share_option
    share: float | None = getattr(own, option) if option else None
    return share


def _available_bytes(cell: Cell, on: Device) -> int:
    """What the engine may take of the device's memory."""
    share = _memory_share(cell) if on.gpus else None
    return int(on.memory_bytes * max(1, on.gpus) * (share or 1.0))


@cache
def _weight_bytes(config_json: str) -> int | None:
    try:
        return checkpoint.weight_bytes(json.loads(config_json))
    except ValueError:
        return None
