"""A forward pass on the `meta` device: what a token computes, and what each layer keeps of it."""

import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from speed_benchmark.models.shape import CacheKind, Experts, Forward, LayerGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Fewer than any window; each later step adds one.
PROMPT_TOKENS = 2
BATCHED = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
OUTPUT, POSITIONS, REST = "output", "positions", "rest"

Place = int | str
"""The number of a layer, or one of the three names above."""


def forward_of(model: "PreTrainedModel") -> tuple[Forward, Experts | None]:
    """What a forward pass of `model` computes and keeps, and the experts that it goes through.

    After a prompt, two steps of one token: what the second does and keeps beyond the first is what one more position
    costs. Tables of positions are not counted, which every engine makes once; nor is what latent attention unpacks of
    the tokens before, which an engine does once for each. Raises whatever the model raises where what it does depends
    on values.
    """
    model.config.pad_token_id = None  # no model is to look for padding among the tokens
    with torch.no_grad(), _watched(model) as seen:
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


class _Operations:
    """The operations of one step by the place where they are made: with weights, and with the tokens before."""

    def __init__(self) -> None:
        self.weights: Counter[Place] = Counter()
        self.positions: Counter[Place] = Counter()
        self.widest = 0

    def places(self) -> set[int]:
        """The layers in which there are any."""
        return {place for place in (*self.weights, *self.positions) if isinstance(place, int)}


class _Seen(TorchDispatchMode):  # type: ignore[misc]
    """Counts the operations of matrix products by the place where they are made, as PyTorch's own counter counts them.

    That one (`FlopCounterMode`) follows every module, which takes three times as long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step = _Operations()
        self.places: list[Place] = [REST]
        self.modules: dict[Place, torch.nn.Module] = {}
        self.experts: Experts | None = None
        self.inside: Experts | None = None
        self.share: Fraction | int = 1

    @contextmanager
    def counting(self) -> Iterator[_Operations]:
        """Count what is computed meanwhile."""
        self.step = _Operations()
        with self:
            yield self.step

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operation of PyTorch
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operation, and count it."""
        result = func(*args, **(kwargs or {}))
        kind = func._overloadpacket
        count, place = flop_registry.get(kind), self.places[-1]
        if count is not None and place != POSITIONS:
            # A product in batches is one of heads, or of experts, which are modules of their own.
            counter = self.step.positions if kind in BATCHED and not self.inside else self.step.weights
            if counter is self.step.weights and place != OUTPUT:
                self.step.widest = max(self.step.widest, result.numel())
            counter[place] += int(count(*args, **(kwargs or {}), out_val=result) * self.share)
        return result


@contextmanager
def _watched(model: "PreTrainedModel") -> Iterator[_Seen]:
    """Note, while `model` runs, in which layer it is and how many experts a token is sent to."""
    seen = _Seen()
    with ExitStack() as hooks:
        for module in model.modules():
            place = _place(module, model)
            if place is not None:
                seen.modules.setdefault(place, module)
                enter, leave = _entering(seen, place), _leaving(seen)
                hooks.callback(module.register_forward_pre_hook(enter).remove)
                hooks.callback(module.register_forward_hook(leave).remove)
            if "Norm" in type(module).__name__:
                hooks.enter_context(_passing_through(module))
            if is_experts(module):
                enter = _entering_experts(seen, experts_told(model))
                hooks.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
                hooks.callback(module.register_forward_hook(_leaving_experts(seen)).remove)
        yield seen


@contextmanager
def _passing_through(module: torch.nn.Module) -> Iterator[None]:
    """Let a norm return what it is given: it makes no matrix product, and takes half of the time on this device."""
    module.forward = lambda hidden, *_args, **_kwargs: hidden
    try:
        yield
    finally:
        del module.forward


def is_experts(module: torch.nn.Module) -> bool:
    """Whether it holds all experts of a layer in one: transformers' classes for that end so."""
    return type(module).__name__.endswith("Experts")


def experts_told(model: "PreTrainedModel") -> Experts | None:
    """The experts of a model that can't be watched, as its config tells."""
    active = getattr(model.config.get_text_config(decoder=True), "num_experts_per_tok", None)
    holder = next(filter(is_experts, model.modules()), None)
    if holder is None or not isinstance(active, int):
        return None
    return Experts(count=next(holder.parameters()).shape[0], active=active)


def _place(module: torch.nn.Module, model: "PreTrainedModel") -> Place | None:
    if module is model.get_output_embeddings():
        return OUTPUT
    if "RotaryEmbedding" in type(module).__name__:
        return POSITIONS
    number = getattr(module, "layer_idx", None)
    return number if isinstance(number, int) else None


def _entering(seen: _Seen, place: Place) -> Any:  # noqa: ANN401
    return lambda _module, _args: seen.places.append(place)


def _leaving(seen: _Seen) -> Any:  # noqa: ANN401
    def leave(_module: object, _args: object, _result: object) -> None:
        seen.places.pop()

    return leave


def _entering_experts(seen: _Seen, told: Experts | None) -> Any:  # noqa: ANN401
    """Note the experts, and how many are chosen for a token: `top_k_index` is [tokens, active].

    Where each of them is given all tokens, most of them zeros, those count that the config tells.
    """

    def enter(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        count = next(module.parameters()).shape[0]
        chosen = kwargs.get("top_k_index", args[1] if len(args) > 1 else None)
        if chosen is not None:
            active = chosen.shape[-1]
        elif told is not None:
            active = told.active
        else:
            raise ValueError("its experts do not tell how many of them a token goes through")
        seen.inside = Experts(count=count, active=active)
        seen.share = 1 if chosen is not None else Fraction(active, count)
        seen.experts = max(filter(None, (seen.experts, seen.inside)), key=lambda experts: experts.active)

    return enter


def _leaving_experts(seen: _Seen) -> Any:  # noqa: ANN401
    def leave(_module: object, _args: object, _result: object) -> None:
        seen.inside = None
        seen.share = 1

    return leave


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
