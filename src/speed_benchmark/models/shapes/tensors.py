"""The tensors of a checkpoint of a model, under the names, types and shapes with which it is published."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from safetensors.torch import _TYPES
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from speed_benchmark.models.shape import Kind, TensorGroup, numbers_of, products

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Tensors = dict[str, tuple[Kind, torch.Tensor]]
"""Tensors by their published names, each with what it is for."""

DTYPES: dict[torch.dtype, str] = {dtype: name for name, dtype in _TYPES.items()}
"""Names of types as safetensors writes them."""

# By what transformers calls the classes of modules, the innermost first.
_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("norm", ("Norm",)),
    ("router", ("Router", "Gate")),
    ("expert", ("Experts",)),
    ("attention", ("Attention", "Attn", "Mixer", "Mamba", "DeltaNet", "ShortConv", "Recurrent")),
    ("mlp", ("MLP", "MoE", "Moe", "FeedForward", "Expert")),
)


def published(model: "PreTrainedModel", among: Callable[[str], bool] = lambda _name: True) -> Tensors:
    """The tensors that `save_pretrained` writes of `model`, of those of its own that are `among` the wanted ones."""
    state = model.state_dict()
    for name in model._keys_to_ignore_on_save or ():
        state.pop(name, None)
    state = remove_tied_weights_from_state_dict(state, model)
    by_kind: dict[Kind, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        if among(name):
            by_kind.setdefault(kind_of(model, name), {})[name] = tensor
    return {
        name: (kind, tensor)
        for kind, part in by_kind.items()
        for name, tensor in revert_weight_conversion(model, part).items()
    }


def grouped(tensors: Tensors, weights: dict[str, int]) -> tuple[TensorGroup, ...]:
    """`tensors` in groups that differ only in numbers; `weights` are those that each holds, by name."""
    found: dict[tuple[str, str, tuple[int, ...], Kind, int], set[tuple[int, ...]]] = {}
    for name, (kind, tensor) in tensors.items():
        pattern, numbers = numbers_of(name)
        key = (pattern, DTYPES[tensor.dtype], tuple(tensor.shape), kind, weights.get(name, 0))
        found.setdefault(key, set()).add(numbers)
    return tuple(
        TensorGroup(name=pattern, numbers=numbers, dtype=dtype, shape=shape, kind=kind, weights=held)
        for (pattern, dtype, shape, kind, held), all_numbers in found.items()
        for numbers in products(all_numbers)
    )


def kind_of(model: "PreTrainedModel", name: str) -> Kind:
    """What the parameter `name` of `model` is for, by the classes of the modules around it."""
    path = name.split(".")[:-1]
    around = [model.get_submodule(".".join(path[:depth])) for depth in range(len(path), 0, -1)]
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if output is not None and output in around:
        return "output"
    if embedding in around:
        tied = output is not None and output.weight is embedding.weight
        return "tied" if tied else "embedding"
    decoder = model.get_decoder()
    if decoder not in (model, *around):
        return "encoder"
    if around and isinstance(around[0], torch.nn.Embedding):
        return "embedding"
    for module in around:
        for kind, words in _KINDS:
            if any(word in type(module).__name__ for word in words):
                return kind
    return "other"
