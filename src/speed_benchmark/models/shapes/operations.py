"""What a model computes while it runs without values: the operations of each layer, and the experts it goes through."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from speed_benchmark.record.cost import Experts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCHED = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
OUTPUT, POSITIONS, REST = "output", "positions", "rest"

Place = int | str
"""The number of a layer, or one of the three names above."""


class Operations:
    """The operations of one step by the place where they are made: with weights, and with the tokens before."""

    def __init__(self) -> None:
        self.weights: Counter[Place] = Counter()
        self.positions: Counter[Place] = Counter()
        self.widest = 0

    def places(self) -> set[int]:
        """The layers in which there are any."""
        return {place for place in (*self.weights, *self.positions) if isinstance(place, int)}


class Watch(TorchDispatchMode):  # type: ignore[misc]
    """Counts the operations of matrix products by the place where they are made, as PyTorch's own counter counts them.

    That one (`FlopCounterMode`) does not tell tables of positions and experts from the rest of a layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step = Operations()
        self.places: list[Place] = [REST]
        self.modules: dict[Place, torch.nn.Module] = {}
        self.experts: Experts | None = None
        self.inside: Experts | None = None
        self.share: Fraction | int = 1

    @contextmanager
    def counting(self) -> Iterator[Operations]:
        """Count what is computed meanwhile."""
        self.step = Operations()
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
def watched(model: "PreTrainedModel") -> Iterator[Watch]:
    """Note, while `model` runs, in which layer it is and how many experts a token is sent to."""
    seen = Watch()
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


def _entering(seen: Watch, place: Place) -> Any:  # noqa: ANN401
    return lambda _module, _args: seen.places.append(place)


def _leaving(seen: Watch) -> Any:  # noqa: ANN401
    def leave(_module: object, _args: object, _result: object) -> None:
        seen.places.pop()

    return leave


def _entering_experts(seen: Watch, told: Experts | None) -> Any:  # noqa: ANN401
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


def _leaving_experts(seen: Watch) -> Any:  # noqa: ANN401
    def leave(_module: object, _args: object, _result: object) -> None:
        seen.inside = None
        seen.share = 1

    return leave
