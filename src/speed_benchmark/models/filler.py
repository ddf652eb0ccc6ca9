"""Made-up values for the tensors of a checkpoint, such that activations stay finite through all layers.

Weights are normal with the standard deviation that models are initialised with, norms near one. Quantised integers
are spread evenly and *symmetrically* around their zero point (4 bits: 1 to 15 around 8): with a mean off zero, each
layer would amplify the mean of its input by a factor that grows with its width, up to overflow in float16. Scales are
such that they stand for weights of that same standard deviation.

Where there are experts, embeddings are as wide as what layers add to them: hidden states of unlike tokens then stay
unlike, and a router of random weights sends them evenly to all experts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from speed_benchmark.models.config import Config
from speed_benchmark.models.shape import Tensor

STD = 0.02
EMBEDDING_STD_OF_MIXTURES = 1.0
SCALE_SPREAD = 0.1
POOL_ELEMENTS = 1 << 22

LARGEST_INPUT = 32.0
"""What static scales of activations leave room for: a normed hidden state is near 1, few values are beyond 10."""

# Types of 8 bits: bits of the mantissa, the exponent's bias, and the first code that is no number; largest values.
_FLOAT8 = {"F8_E4M3": (3, 7, 0x7F), "F8_E5M2": (2, 15, 0x7C)}
_LARGEST = {"I8": 127.0, "F8_E4M3": 448.0, "F8_E5M2": 57344.0}
# What weights, and scales of groups, are stored as: far from both ends of the type.
_FLOAT8_STD = 32.0
_FLOAT8_SCALE = 64.0
# All codes of 4 bits but 0: 0.5, 1, 1.5, 2, 3, 4 and 6 with either sign, and -0 (OCP Microscaling Formats 1.0).
_FLOAT4_STD = sqrt(2 * (0.25 + 1 + 2.25 + 4 + 9 + 16 + 36) / 15)
_LARGEST_FLOAT4 = 6.0
_EXPONENT_BIAS = 127

_INTEGERS = {"I32": (2, 3, 4, 8), "I8": (8,), "U8": (4,)}
"""The bits of weights that are packed into a type."""

# x.weight_scale, x.scales and x_scales belong to x.weight, x.qweight, x.weight_packed and x_blocks.
_PART = re.compile(
    r"(?:[._](input|activation))?(?:[._]weight)?[._]"
    r"(blocks|packed|q?weight|g_idx|shape|qzeros|zero_point|global_scale|scale_inv|scales?)$"
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Normal:
    """Normal values, all alike without a deviation."""

    mean: float
    std: float = 0.0


@dataclass(frozen=True)
class _Integers:
    """A stream of integers of some bits: all of one `value`, or at random from 1 up; the topmost bit flipped or not."""

    bits: int
    value: int | None = None
    signed: bool = False


class Filler:
    """Values for one checkpoint; random ones are drawn once and repeated from random places, to keep up with disks."""

    def __init__(self, tensors: Sequence[Tensor], config: Config, seed: int) -> None:
        """Values for all `tensors` of a checkpoint with this `config`. Raises ValueError where none are known."""
        quantization = config.get("quantization_config") or {}
        is_gptq = quantization.get("quant_method") == "gptq"
        # GPTQ's first checkpoint format stores zero points minus one.
        self._zero_offset = int(is_gptq and quantization.get("checkpoint_format") != "gptq_v2")
        self._packed = {_split(one.name)[0]: one for one in tensors if one.weights and not one.is_plain}
        self._scales = {_split(one.name)[0]: one for one in tensors if _split(one.name)[1].startswith("scale")}
        self._has_experts = any(tensor.kind == "expert" for tensor in tensors)
        self._pool_elements = min(POOL_ELEMENTS, 2 * max(tensor.elements for tensor in tensors))
        self._random = np.random.default_rng(seed)
        self._pools: dict[tuple[_Normal | _Integers, str], Array] = {}
        for tensor in tensors:
            self._values(tensor)

    def chunks(self, tensor: Tensor) -> Iterator[memoryview]:
        """The values of `tensor` in storage order and in its stored type, piece by piece."""
        values = self._values(tensor)
        if isinstance(values, np.ndarray):
            yield values.data
            return
        pool = self._pool(values, tensor.dtype)
        # Integers may reach across words: a piece begins where one of them does.
        step = values.bits if isinstance(values, _Integers) else 1
        left = tensor.size_bytes // pool.itemsize
        while left:
            count = min(left, pool.size // 2)
            start = int(self._random.integers(pool.size - count + 1)) // step * step
            yield pool[start : start + count].data
            left -= count

    def _values(self, tensor: Tensor) -> _Normal | _Integers | Array:
        """What `tensor` is filled with. Raises ValueError where that is not known."""
        if tensor.is_plain:
            return self._plain(tensor)
        if tensor.dtype in ("I64", "BOOL") and tensor.weights:  # counters of a model that was not trained
            return _Integers(8, 0)
        if tensor.weights:
            return _stored(tensor)
        found = self._part(tensor)
        if found is None:
            raise _unknown(tensor)
        return found

    def _plain(self, tensor: Tensor) -> _Normal:
        if tensor.kind == "norm" and tensor.name.endswith("weight"):
            return _Normal(1.0, STD)
        if tensor.name.endswith("_bias") or (tensor.kind == "router" and len(tensor.shape) == 1):
            return _Normal(0.0)  # what shifts the choice of experts, or how fast a state decays: no one before others
        is_wide = self._has_experts and tensor.kind in ("embedding", "tied")
        return _Normal(0.0, EMBEDDING_STD_OF_MIXTURES if is_wide else STD)

    def _part(self, tensor: Tensor) -> _Normal | _Integers | Array | None:
        """What stands beside packed weights: their scales, zero points, order and shape; and scales of their inputs."""
        stem, part = _split(tensor.name)
        packed = self._packed.get(stem)
        if packed is None:
            return _Normal(1.0) if part == "scale" and tensor.dtype in ("F32", "F16", "BF16") else None
        match part:
            case "input_zero_point":
                return _Integers(8, 0)
            case "input_global_scale":
                return _Normal(_LARGEST["F8_E4M3"] * _LARGEST_FLOAT4 / LARGEST_INPUT)
            case "input_scale":
                return _Normal(LARGEST_INPUT / _LARGEST[packed.dtype]) if packed.dtype in _LARGEST else None
            case "shape":
                return np.array([packed.shape[0], packed.weights // packed.shape[0]], dtype=np.int64)
            case "g_idx":
                groups = self._scales[stem].shape[0 if packed.name.endswith("qweight") else -1]
                return np.arange(tensor.elements, dtype=np.int32) // max(1, tensor.elements // groups)
            case "qzeros":
                return _Integers(_bits(packed), (1 << (_bits(packed) - 1)) - self._zero_offset)
            case "zero_point":
                return _Integers(_bits(packed), 1 << (_bits(packed) - 1)) if tensor.dtype == "I32" else _Integers(8, 0)
            case "global_scale":
                return _Normal(_FLOAT8_SCALE * _std(packed) / STD)
            case "scale" | "scales" | "scale_inv":
                return _scale(STD / _std(packed), tensor.dtype)
        return None

    def _pool(self, values: _Normal | _Integers, dtype: str) -> Array:
        key = values, dtype
        if key not in self._pools:
            self._pools[key] = (
                self._normal(values, dtype) if isinstance(values, _Normal) else self._integers(values, dtype)
            )
        return self._pools[key]

    def _normal(self, values: _Normal, dtype: str) -> Array:
        drawn = self._random.standard_normal(self._pool_elements, dtype=np.float32)
        drawn *= np.float32(values.std)
        drawn += np.float32(values.mean)
        return _stored_as(drawn, dtype)

    def _integers(self, values: _Integers, dtype: str) -> Array:
        """Words of 32 bits full of integers; 32 of them take `bits` words, whatever the bits."""
        count, bits = -(-self._pool_elements // values.bits), values.bits
        words = np.zeros((count, bits), dtype=np.uint32)
        for number in range(32):
            drawn = (
                self._random.integers(1, 1 << bits, count, dtype=np.uint32)
                if values.value is None
                else np.full(count, values.value, dtype=np.uint32)
            )
            word, shift = divmod(number * bits, 32)
            words[:, word] |= drawn << np.uint32(shift)
            if shift + bits > 32:
                words[:, word + 1] |= drawn >> np.uint32(32 - shift)
        pool: Array = words.reshape(-1)
        if values.signed:
            pool ^= np.uint32(0x80808080)
        return pool if dtype in ("I32", "I64") else pool.view(np.uint8)


def _split(name: str) -> tuple[str, str]:
    """The quantised layer that a tensor belongs to, and which part of it that is; "" where the name tells none."""
    found = _PART.search(name)
    if found is None:
        return name, ""
    return name[: found.start()], f"input_{found[2]}" if found[1] else found[2]


def _bits(packed: Tensor) -> int:
    return packed.size_bytes * 8 // packed.weights


def _stored(packed: Tensor) -> _Normal | _Integers:
    """What stands for weights where they are quantised."""
    if packed.dtype in _FLOAT8:
        return _Normal(0.0, _FLOAT8_STD)
    if _bits(packed) in _INTEGERS.get(packed.dtype, ()):
        return _Integers(_bits(packed), signed=packed.dtype == "I8")
    raise _unknown(packed)


def _std(packed: Tensor) -> float:
    """The standard deviation of what is stored; 4 bits in bytes are floats."""
    stored = _stored(packed)
    if isinstance(stored, _Normal):
        return stored.std
    return _FLOAT4_STD if packed.dtype == "U8" else sqrt(((2**stored.bits - 1) ** 2 - 1) / 12)


def _scale(scale: float, dtype: str) -> _Normal | _Integers:
    """Scales near `scale`: as floats, as powers of two alone, or relative to that of the whole tensor."""
    if dtype in ("U8", "F8_E8M0"):
        return _Integers(8, _EXPONENT_BIAS + round(log2(scale)))
    if dtype in _FLOAT8:
        return _Normal(_FLOAT8_SCALE, _FLOAT8_SCALE * SCALE_SPREAD)
    return _Normal(scale, scale * SCALE_SPREAD)


def _unknown(tensor: Tensor) -> ValueError:
    return ValueError(f"made-up weights have no values for its {tensor.name[:120]} of type {tensor.dtype}")


def _stored_as(values: npt.NDArray[np.float32], dtype: str) -> Array:
    if dtype == "BF16":
        return _bfloat16(values)
    if dtype in _FLOAT8:
        return _float8(values, dtype)
    return values.astype({"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype], copy=False)


def _bfloat16(values: npt.NDArray[np.float32]) -> Array:
    """The upper half of each float32, rounded to the nearest, ties to even."""
    bits = values.view(np.uint32)
    bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (bits >> np.uint32(16)).astype(np.uint16)


def _float8(values: npt.NDArray[np.float32], dtype: str) -> Array:
    """The nearest codes: the values of all positive ones, in their order, are those of the codes from 0 up."""
    mantissa_bits, bias, end = _FLOAT8[dtype]
    codes = np.arange(end)
    exponents, mantissas = codes >> mantissa_bits, (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    known = np.where(exponents == 0, mantissas * 2.0 ** (1 - bias), (1 + mantissas) * 2.0 ** (exponents - bias))
    found = np.searchsorted((known[1:] + known[:-1]) / 2, np.abs(values)).astype(np.uint8)
    return found | np.signbit(values).astype(np.uint8) << 7
