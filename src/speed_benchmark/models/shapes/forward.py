"""A forward pass on the `meta` device: what a token computes, and what each layer keeps of it."""

import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch

from speed_benchmark.models.shape import Forward
from speed_benchmark.models.shapes.operations import OUTPUT, REST, watched
from speed_benchmark.record.cost import CacheKind, Experts, LayerGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Fewer than any window; each later step adds one.
PROMPT_TOKENS = 2


def forward_of(model: "PreTrainedModel") -> tuple[Forward, Experts | None]:
    """What a forward pass of `model` computes and keeps, and the experts that it goes through.

    After a prompt, two steps of one token: what the second does and keeps beyond the first is what one more position
    costs. Tables of positions are not counted, which every engine makes once; nor is what latent attention unpacks of
    the tokens before, which an engine does once for each. Raises whatever the model raises where what it does depends
    on values.
    """
    model.config.pad_token_id = None  # no model is to look for padding among the tokens
    with torch.no_grad(), watched(model) as seen:
        cache = _step(model, PROMPT_TOKENS, None)
        steps, kept = [], []
        for _ in range(2):
            with seen.counting() as step:
                cache = _step(model, 1, cache)
            steps.append(step)
            kept.append([_values(layer) for layer in cache.layers])
    first, second = steps
    flops = first.weights[REST] + first.weights[OUTPUT] + first.positions[REST]
    latent = _latent(model)
    groups: Counter[LayerGroup] = Counter()
    for place in sorted({*range(len(cache.layers)), *first.places(), *second.places()}):
        per_position = second.positions[place] - first.positions[place]
        unpacked = second.weights[place] - first.weights[place]
        flops += first.weights[place] - unpacked * PROMPT_TOKENS
        flops += first.positions[place] - per_position * (PROMPT_TOKENS + 1)
        own = cache.layers[place] if place < len(cache.layers) else None
        growth, state_bytes = _growth(kept[0][place], kept[1][place]) if own else (0, 0)
        window = getattr(own or seen.modules.get(place), "sliding_window", None)
        kind = _kind(growth, window, state_bytes, latent)
        groups[
            LayerGroup(
                kind=kind,
                count=1,
                values_per_token=growth,
                window_tokens=window if growth or per_position else None,
                state_bytes=state_bytes,
                flops_per_position=per_position,
                latent_flops_per_position=latent if kind == "latent" else None,
            )
        ] += 1
    layers = tuple(group.model_copy(update={"count": count}) for group, count in groups.items())
    return Forward(
        flops=flops, output_flops=first.weights[OUTPUT], widest_values=first.widest, layers=layers
    ), seen.experts


def _step(model: "PreTrainedModel", tokens: int, cache: Any) -> Any:  # noqa: ANN401 - of the model's own kind
    input_ids = torch.zeros((1, tokens), dtype=torch.long, device="meta")
    name = "cache_params" if "cache_params" in inspect.signature(model.forward).parameters else "past_key_values"
    return model(input_ids=input_ids, use_cache=True, **{name: cache})[name]


def _values(kept: object) -> tuple[int, int]:
    """The values, and their bytes, of all tensors that a layer of the cache keeps."""
    if isinstance(kept, torch.Tensor):
        return (kept.numel(), kept.nbytes) if kept.dim() > 1 else (0, 0)
    parts = kept if isinstance(kept, list | tuple) else kept.values() if isinstance(kept, dict) else None
    if parts is None:
        parts = vars(kept).values() if hasattr(kept, "__dict__") else ()
    found = [_values(part) for part in parts if isinstance(part, torch.Tensor | list | tuple | dict)]
    return sum(values for values, _ in found), sum(size for _, size in found)


def _growth(before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    """The values that a layer keeps of each token, and the bytes that it keeps whatever their number.

    `before` and `after` a step: the values, and their bytes.
    """
    values, size_bytes = after[0] - before[0], after[1] - before[1]
    return values, before[1] - size_bytes * (PROMPT_TOKENS + 1)


def _latent(model: "PreTrainedModel") -> int | None:
    """What a new token takes for each one before it, and layer, where it looks at the compressed vectors themselves.

    Each head multiplies with a compressed vector and the rotated part of the key, and sums up compressed vectors.
    """
    config = model.config.get_text_config(decoder=True)
    rank, rotated = getattr(config, "kv_lora_rank", None), getattr(config, "qk_rope_head_dim", None)
    return 2 * config.num_attention_heads * (2 * rank + rotated) if rank and rotated is not None else None


def _kind(growth: int, window: int | None, state_bytes: int, latent: int | None) -> CacheKind:
    if not growth:
        return "state" if state_bytes else "none"
    if latent is not None:
        return "latent"
    return "sliding" if window else "full"
