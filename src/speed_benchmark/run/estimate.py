"""What a cell will take of memory, from the model's shape and the device, and the least number of GPUs.

What depends on the engine is asked of its settings (`engines.settings`): how it splits a model, and for how many tokens
it makes room. How long it takes is forecast in `run.forecast`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from speed_benchmark.cell import Cell, EngineSettings
from speed_benchmark.engines import registry
from speed_benchmark.machine.device import Device, device
from speed_benchmark.models.checkpoint import VALUE_BYTES
from speed_benchmark.models.cost import value_bytes
from speed_benchmark.models.shape import Shape

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


def memory(cell: Cell, shape: Shape, on: Device) -> MemoryEstimate:
    """The memory that `cell` needs on that device.

    Weights as the checkpoint holds them, plain ones in the type that is asked for. Key-value cache: that of all
    sequences, in the room that the engine makes. Activations peak where a layer of the prefill is widest, in its MLP or
    its experts: gate, up and their product, beside four hidden states, for all tokens that run at once, on each GPU.
    Within 6 % of the 112 figures of the Qwen2.5 report, AWQ with input 1 aside.
    """
    own, batch = registry.settings_of(cell.settings), cell.workload.batch_size
    activation_value_bytes = value_bytes(shape, cell.settings)
    kept_tokens = own.kept_tokens(cell.total_tokens, batch)
    prefill_tokens = own.prefill_tokens(batch * cell.workload.context_length, on)
    split = max(1, on.gpus) if own.traits.split == "tensor" else 1
    token_values = 3 * shape.widest_values // split + 4 * shape.hidden_size
    activation_bytes = token_values * activation_value_bytes * prefill_tokens * max(1, on.gpus)
    return MemoryEstimate(
        weight_bytes=shape.weight_bytes(VALUE_BYTES.get(cell.settings.dtype)),
        kv_cache_bytes=shape.kv_cache_bytes(kept_tokens, own.cache_value_bytes(activation_value_bytes), batch),
        activation_bytes=activation_bytes + WORKSPACE_BYTES * on.gpus,
    )


def fits(cell: Cell, shape: Shape, on: Device) -> bool:
    """Whether `cell` will fit, as far as can be said."""
    share = 1.0 if _memory_share(cell) or not on.gpus else USABLE_SHARE
    return memory(cell, shape, on).total_bytes <= share * _available_bytes(cell, on)


def misfit(cell: Cell, shape: Shape | None, on: Device) -> str | None:
    """Why `cell` can't fit, None where it may: weights and key-value cache alone are more than there is."""
    simulated = registry.settings_of(cell.settings).traits.simulated
    if simulated or not on.memory_bytes or shape is None:
        return None
    needed = memory(cell, shape, on)
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


def least_gpus(cell: Cell, shape: Shape, pool: Sequence[int]) -> int:
    """On how many GPUs of `pool` the cell fits, as few as possible; on as many as can be used if it fits on none."""
    if not pool:
        return 0
    all_of_them = device(pool)
    usable = [gpus for gpus in range(1, len(pool) + 1) if can_split(cell.settings, shape.attention_heads, gpus)]
    fitting = (gpus for gpus in usable if fits(cell, shape, replace(all_of_them, gpus=gpus)))
    return next(fitting, usable[-1])


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
