"""What steps must read and compute, from what a token costs: windows, states and distinct experts included."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speed_benchmark.record.cost import LayerGroup, TokenCost


def weight_bytes(cost: TokenCost, tokens: ArrayLike) -> NDArray[np.float64]:
    """The bytes of weights that a step of so many tokens reads, of experts the distinct ones."""
    counts = np.asarray(tokens, dtype=np.float64)
    if cost.experts is None:
        return np.full_like(counts, cost.weight_bytes)
    more = (cost.experts.touched(counts) - cost.experts.active) / cost.experts.count
    return cost.weight_bytes + cost.expert_bytes * np.maximum(0.0, more)


def cache_bytes(cost: TokenCost, tokens: ArrayLike) -> NDArray[np.float64]:
    """The bytes that a sequence of so many tokens keeps, which each step of it reads."""
    layers = _layers(cost)
    values = sum(group.count * group.values_per_token for group in layers)
    kept = sum(float(group.count * group.values_per_token) * _positions(group, tokens) for group in layers)
    states = sum(group.count * group.state_bytes for group in layers)
    return np.asarray(cost.kv_cache_bytes_per_token * (kept / max(1, values)) + float(states))


def attention_flops(cost: TokenCost, tokens: ArrayLike) -> NDArray[np.float64]:
    """The operations by which a new token looks back at so many, itself among them."""
    flops = sum(_decode_flops(group) * _positions(group, tokens) for group in _layers(cost))
    return np.asarray(flops, np.float64)


def prompt_attention_flops(cost: TokenCost, tokens: int) -> float:
    """The operations by which all tokens of a prompt look back, each at itself and those before it."""
    return float(
        sum(group.count * group.flops_per_position * group.positions_of_prefill(tokens) for group in _layers(cost))
    )


def _layers(cost: TokenCost) -> tuple[LayerGroup, ...]:
    """The layers of a model; one that stands for all where each of them keeps all tokens before."""
    return cost.layers or (_whole(cost.attention_flops_per_token),)


@cache
def _whole(flops: int) -> LayerGroup:
    return LayerGroup(kind="full", count=1, values_per_token=1, flops_per_position=flops)


def _positions(group: LayerGroup, tokens: ArrayLike) -> NDArray[np.float64]:
    return np.minimum(np.asarray(tokens, dtype=np.float64), group.window_tokens or np.inf)


def _decode_flops(group: LayerGroup) -> float:
    """All of its layers, for each token that a new one looks back at."""
    latent = group.latent_flops_per_position
    return float(group.count * (group.flops_per_position if latent is None else latent))
