"""The weights of matrix products as the layers of a loaded model hold them: their type, their bits, their format."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speed_benchmark.record import formats

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Held:
    """The weights of one layer, or of all its experts: how many, in a tensor of `dtype` and `stored_bytes`."""

    dtype: "torch.dtype"
    stored_bytes: int
    weights: int

    @property
    def bits(self) -> int:
        """What is stored for each weight, scales and zero points aside."""
        return round(8 * self.stored_bytes / self.weights)

    def format(self, declared: str) -> str:
        """A plain format by the type; a packed one as the checkpoint calls it, where so many bits are stored of it."""
        by_type, by_checkpoint = formats.format_of(None, type_name(self.dtype)), formats.named(declared)
        if by_type.is_plain or by_checkpoint.is_plain:
            return by_type.name
        if by_checkpoint.bits in (None, self.bits):
            return declared
        return formats.scheme("float" if self.dtype.is_floating_point else "int", self.bits)


def format_of(layers: Iterable[Held], declared: str) -> str:
    """The format that most of the weights have; `declared` is how the checkpoint calls that of packed ones.

    Most, because every format leaves some layers plain: a router, a part that is not text.
    """
    weights: Counter[str] = Counter()
    for layer in layers:
        weights[layer.format(declared)] += layer.weights
    return weights.most_common(1)[0][0]


def type_name(dtype: "torch.dtype") -> str:
    """As PyTorch calls it, without its own name."""
    return str(dtype).removeprefix("torch.")
