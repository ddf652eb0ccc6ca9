"""Made-up values for the tensors of a checkpoint, such that activations stay finite through all layers.

Weights are normal with the standard deviation that models are initialised with, norms near one. Quantised weights
are spread evenly and *symmetrically* around their zero point (4 bits: 1 to 15 around 8): with a mean off zero, each
layer would amplify the mean of its input by a factor that grows with its width, up to overflow in float16.
"""

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from speed_benchmark.models.checkpoint import TensorSpec
from speed_benchmark.models.config import Config

STD = 0.02
SCALE_SPREAD = 0.1
POOL_ELEMENTS = 1 << 22

Array = npt.NDArray[Any]


class Filler:
    """Values for one checkpoint; random ones are drawn once and repeated from random places, to keep up with disks."""

    def __init__(self, config: Config, largest_elements: int, seed: int) -> None:
        """Values for the checkpoint of `config`, whose largest tensor has `largest_elements`."""
        quantization = config.get("quantization_config") or {}
        self._bits: int = quantization.get("bits", 0)
        self._group_size: int = quantization.get("group_size", 0)
        self._is_awq = quantization.get("quant_method") == "awq"
        # With it, values spread evenly over 1 to 2^bits - 1 get the standard deviation of weights.
        self._scale = STD * sqrt(12 / ((2**self._bits - 1) ** 2 - 1)) if self._bits else 0.0
        self._pool_elements = min(POOL_ELEMENTS, 2 * largest_elements)
        self._random = np.random.default_rng(seed)
        self._pools: dict[str, Array] = {}

    def chunks(self, tensor: TensorSpec) -> Iterator[memoryview]:
        """The values of `tensor` in storage order and in its stored type, piece by piece."""
        kind = tensor.name.rsplit(".", 1)[-1]
        if kind == "g_idx":
            yield (np.arange(tensor.elements, dtype=np.int32) // self._group_size).data
        elif kind == "qzeros":
            yield np.full(tensor.elements, self._zero_point(), dtype=np.uint32).data
        else:
            pool = self._pool("norm" if tensor.name.endswith("norm.weight") else kind, tensor.dtype)
            left = tensor.elements
            while left:
                count = min(left, pool.size // 2)
                start = int(self._random.integers(pool.size - count + 1))
                yield pool[start : start + count].data
                left -= count

    def _pool(self, kind: str, dtype: str) -> Array:
        if kind == "bias":
            kind = "weight"
        if kind not in self._pools:
            self._pools[kind] = self._draw(kind, dtype)
        return self._pools[kind]

    def _draw(self, kind: str, dtype: str) -> Array:
        if kind == "qweight":
            return self._draw_packed()
        mean, std = {"weight": (0.0, STD), "norm": (1.0, STD), "scales": (self._scale, self._scale * SCALE_SPREAD)}[
            kind
        ]
        values = self._random.standard_normal(self._pool_elements, dtype=np.float32)
        values *= np.float32(std)
        values += np.float32(mean)
        if dtype == "F32":
            return values
        return values.astype(np.float16) if dtype == "F16" else _bfloat16(values)

    def _draw_packed(self) -> Array:
        """Words of 32 bits full of values of `bits` bits, each from 1 up, so that their mean is the zero point."""
        count = 4 * self._pool_elements
        if self._bits == 8:
            packed: Array = self._random.integers(1, 256, count, dtype=np.uint8)
        else:
            low, high = self._random.integers(1, 16, (2, count), dtype=np.uint8)
            packed = low | high << 4
        return packed.view(np.uint32)

    def _zero_point(self) -> int:
        """A word of zero points; GPTQ's first checkpoint format stores them minus one."""
        zero = 1 << (self._bits - 1)
        stored = zero if self._is_awq else zero - 1
        return int(sum(stored << shift for shift in range(0, 32, self._bits)))


def _bfloat16(values: npt.NDArray[np.float32]) -> Array:
    """The upper half of each float32, rounded to the nearest, ties to even."""
    bits = values.view(np.uint32)
    bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (bits >> np.uint32(16)).astype(np.uint16)
