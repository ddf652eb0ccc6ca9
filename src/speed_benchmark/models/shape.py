"""What a model is, whatever its family: its tensors, its experts, its key-value cache and its operations.

All of it is asked of transformers (`shapes`), nothing is written by hand. These are the values, and the sums over them.
"""

import re
from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Literal

from speed_benchmark.record.base import Count, Frozen, Positive, Share, Text
from speed_benchmark.record.cost import Experts, LayerGroup

Kind = Literal["embedding", "tied", "attention", "mlp", "expert", "router", "norm", "output", "encoder", "other"]
"""What a weight is for. `tied` is an embedding that is the output layer too; `encoder` is what sees images or hears."""

_TYPES = {
    4: ("F4",),
    8: ("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"),
    16: ("BF16", "F16", "I16", "U16"),
    32: ("F32", "I32", "U32"),
    64: ("F64", "I64", "U64"),
}
BITS = {name: bits for bits, names in _TYPES.items() for name in names}
"""What a value takes, by the name that safetensors gives to its type."""

_PLAIN = ("BF16", "F16", "F32", "F64")
_NUMBER = re.compile(r"\d+")


class Tensor(Frozen):
    """A tensor of a checkpoint under its published name; `dtype` is the name that safetensors gives to the type.

    `kind` and `weights` are those of its group.
    """

    name: Text
    dtype: Text
    shape: tuple[Count, ...]
    kind: Kind
    weights: Count

    @property
    def elements(self) -> int:
        """How many values it has as it is stored."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """What it takes as stored."""
        return self.elements * BITS[self.dtype] // 8

    @property
    def is_plain(self) -> bool:
        """Whether it is weights as they were trained: once loaded, they take the type that was asked for."""
        return self.dtype in _PLAIN and self.weights == self.elements


class TensorGroup(Frozen):
    """Tensors that differ only in the numbers in their names: of layers, of experts.

    `name` has `{}` for each number, `numbers` the values that each takes. `weights` is how many weights of the model
    one of them holds, packed or not: none for scales and the like.
    """

    name: Text
    numbers: tuple[tuple[Count, ...], ...]
    dtype: Text
    shape: tuple[Count, ...]
    kind: Kind
    weights: Count

    @property
    def count(self) -> int:
        """How many tensors it stands for."""
        return prod(map(len, self.numbers))

    @property
    def elements(self) -> int:
        """The values of all of them as they are stored."""
        return self.count * prod(self.shape)

    @property
    def is_plain(self) -> bool:
        """Whether they are weights as they were trained: once loaded, they take the type that was asked for."""
        return self.dtype in _PLAIN and self.weights == prod(self.shape)

    def size_bytes(self, value_bytes: int | None = None) -> int:
        """What they take as stored, or with plain weights of `value_bytes` each."""
        if value_bytes is not None and self.is_plain:
            return self.elements * value_bytes
        return self.count * (prod(self.shape) * BITS[self.dtype] // 8)

    def tensors(self) -> Iterator[Tensor]:
        """Each of them."""
        for numbers in product(*self.numbers):
            yield Tensor(
                name=self.name.format(*numbers),
                dtype=self.dtype,
                shape=self.shape,
                kind=self.kind,
                weights=self.weights,
            )


class Forward(Frozen):
    """What one forward pass computes and leaves behind.

    `flops` are the multiplications and additions of one token in all layers and in the output layer, positions before
    it aside, `output_flops` those of the output layer, which a prompt passes once. `widest_values` are those of a token
    between two products, where a layer is widest: in its MLP, or in all active experts.
    """

    flops: Count
    output_flops: Count
    widest_values: Count
    layers: tuple[LayerGroup, ...]


class Shape(Frozen):
    """A model as transformers builds it. `forward` is None where it can't be run without values: `note` says why."""

    architecture: Text
    dtype: Text
    hidden_size: Positive
    attention_heads: Positive
    layer_count: Positive
    tensors: tuple[TensorGroup, ...]
    experts: Experts | None
    forward: Forward | None
    note: Text = ""

    def each_tensor(self) -> list[Tensor]:
        """All tensors, in the natural order of their names."""
        return sorted(
            (tensor for group in self.tensors for tensor in group.tensors()), key=lambda one: natural(one.name)
        )

    def weight_bytes(self, value_bytes: int | None = None) -> int:
        """What all weights take as stored, or with plain weights of `value_bytes` each."""
        return sum(group.size_bytes(value_bytes) for group in self.tensors)

    def parameters(self, kind: Kind | None = None) -> int:
        """The weights of the model, or those of one `kind`, packed or not."""
        return sum(group.count * group.weights for group in self.tensors if kind in (None, group.kind))

    def active_parameters(self) -> int:
        """The weights that a token goes through, its row of the embedding aside."""
        resting = self.parameters("embedding") + self.parameters("encoder")
        experts = self.parameters("expert")
        return self.parameters() - resting - experts + round(experts * self.active_share)

    @property
    def active_share(self) -> Share:
        """The share of the experts that a token goes through."""
        return self.experts.active / self.experts.count if self.experts else 1.0

    def read_bytes(self, tokens: int = 1, value_bytes: int | None = None) -> int:
        """The bytes of weights that a step of `tokens` must read: distinct experts, rows of the embedding, all others.

        The order of GPTQ's inputs (`g_idx`) is not counted: weights that are in order need none.
        """
        share = self.experts.touched(tokens) / self.experts.count if self.experts else 1.0
        read = 0
        for group in self.tensors:
            size = group.size_bytes(value_bytes)
            if group.kind == "embedding":
                read += size // group.shape[0] * min(tokens, group.shape[0])
            elif group.kind == "expert":
                read += round(size * share)
            elif group.kind != "encoder" and not group.name.endswith(".g_idx"):
                read += size
        return read

    def expert_bytes(self, value_bytes: int | None = None) -> int:
        """What all experts take as stored, or with plain weights of `value_bytes` each."""
        return sum(group.size_bytes(value_bytes) for group in self.tensors if group.kind == "expert")

    @property
    def value_bytes(self) -> int:
        """What a plain weight takes, and so a value of the activations where nothing else is asked for."""
        return BITS[self.dtype] // 8

    @property
    def widest_values(self) -> int:
        """The values of a token between two products, where a layer is widest."""
        return self._forward.widest_values

    @property
    def attention_layers(self) -> int:
        """The layers that look back at the tokens before."""
        return sum(group.count for group in self._forward.layers if group.flops_per_position)

    @property
    def is_quantized(self) -> bool:
        """Whether there are weights that are not stored as they were trained."""
        return any(group.weights and not group.is_plain for group in self.tensors)

    @property
    def kv_values_per_token(self) -> int:
        """What all layers keep of one token, in values."""
        return sum(group.count * group.values_per_token for group in self._forward.layers)

    def kv_cache_bytes(self, tokens: int, value_bytes: int, sequences: int = 1) -> int:
        """What `sequences` of `tokens` together keep in all layers, with `value_bytes` for each key or value."""
        return sum(
            group.count
            * (
                min(tokens, (group.window_tokens or tokens) * sequences) * group.values_per_token * value_bytes
                + group.state_bytes * sequences
            )
            for group in self._forward.layers
        )

    def decode_flops(self, tokens: int, *, latent: bool = False) -> int:
        """The operations of one new token that looks back at `tokens`, itself among them.

        With `latent` in an engine that has kernels for latent attention.
        """
        return self._forward.flops + sum(
            group.count * _per_position(group, latent=latent) * group.positions(tokens)
            for group in self._forward.layers
        )

    def prefill_flops(self, tokens: int) -> int:
        """The operations of a prompt of `tokens`, of which the last one passes the output layer."""
        forward = self._forward
        return (
            (forward.flops - forward.output_flops) * tokens
            + forward.output_flops
            + sum(
                group.count * group.flops_per_position * group.positions_of_prefill(tokens) for group in forward.layers
            )
        )

    @property
    def _forward(self) -> Forward:
        if self.forward is None:
            raise ValueError(f"what a token costs is not known: {self.note}")
        return self.forward


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def numbers_of(name: str) -> tuple[str, tuple[int, ...]]:
    """`name` with `{}` for each number in it, and the numbers. Braces in names of tensors are unknown."""
    return _NUMBER.sub("{}", name), tuple(map(int, _NUMBER.findall(name)))


def products(numbers: set[tuple[int, ...]]) -> list[tuple[tuple[int, ...], ...]]:
    """`numbers` as few products of values: {(0, 0), (0, 1), (1, 0), (1, 1)} is [((0, 1), (0, 1))]."""
    if not min(numbers, key=len):
        return [()]
    rests: dict[int, set[tuple[int, ...]]] = {}
    for first, *rest in numbers:
        rests.setdefault(first, set()).add(tuple(rest))
    firsts: dict[frozenset[tuple[int, ...]], list[int]] = {}
    for first, rest_of_first in sorted(rests.items()):
        firsts.setdefault(frozenset(rest_of_first), []).append(first)
    return [(tuple(first), *others) for rest_, first in firsts.items() for others in products(set(rest_))]


def _per_position(group: LayerGroup, *, latent: bool) -> int:
    known = group.latent_flops_per_position
    return known if latent and known is not None else group.flops_per_position
