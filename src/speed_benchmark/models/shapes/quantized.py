"""The tensors of a quantised checkpoint: those that the quantiser's own modules have, in place of plain weights."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers.core_model_loading import revert_weight_conversion
from transformers.quantizers import AutoHfQuantizer

from speed_benchmark.models.config import Config
from speed_benchmark.models.shapes.operations import is_experts
from speed_benchmark.models.shapes.tensors import Tensors, published

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MXFP4_BLOCK = 32


def quantized(model: "PreTrainedModel", quantization: Config, plain: Tensors) -> Tensors:
    """The tensors of `model` in the format that `quantization` describes; `plain` are those without. Changes `model`.

    Experts that are published one by one become a linear layer each, for transformers holds all of a layer in one
    tensor, which most quantisers pass over. Raises whatever the quantiser raises.
    """
    if quantization.get("quant_method") == "mxfp4":
        return _mxfp4(plain)
    experts = _unfuse(model)
    quantizer = AutoHfQuantizer.from_config(dict(quantization), pre_quantized=True)
    quantizer.validate_environment(device_map=_ON_CPU)
    # What it would unpack for want of a GPU stays as it is stored.
    quantizer.quantization_config.dequantize = False
    with torch.device("meta"):
        quantizer.preprocess_model(model, dtype=model.dtype, device_map=_ON_CPU)
    inside = tuple(f"{path}." for path in experts)
    found = published(model, lambda name: not name.startswith(inside))
    for path, expert in experts.items():
        found |= expert.tensors(model.get_submodule(path))
    return found


def weights_held(found: Tensors, plain: Tensors) -> dict[str, int]:
    """How many weights each tensor of `found` holds: those of `plain` of its name, which the largest part has."""
    held = {name: tensor.numel() for name, (_, tensor) in plain.items() if name in found}
    parts: dict[str, list[str]] = {}
    for name in found:
        parts.setdefault(name.rpartition(".")[0], []).append(name)
    for name, (_, tensor) in plain.items():
        if name in found:
            continue
        module = name.rpartition(".")[0]
        stem = name.removesuffix(".weight")
        packed = [part for part in parts.get(module, []) if part.startswith(stem)]
        if packed:
            held[max(packed, key=lambda part: found[part][1].nbytes)] = tensor.numel()
    return held


_ON_CPU: dict[str, Any] = {"": "cpu"}


class _Holder(torch.nn.Module):  # type: ignore[misc]
    """What holds linear layers in place of all experts. FP8's quantiser would replace what it finds by that name."""

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, torch.nn.Module]]:  # noqa: ANN401
        """All modules in it, itself left out."""
        found = super().named_modules(*args, **kwargs)
        next(found, None)
        yield from found


class _Unfused:
    """The experts of one layer as they are published: how many, below which name; one of them stands for all."""

    def __init__(self, prefix: str, count: int) -> None:
        self.prefix, self.count = prefix, count

    def tensors(self, module: torch.nn.Module) -> Tensors:
        """The tensors of all experts, from those of the one."""
        one = {name.removeprefix("0."): tensor for name, tensor in module.state_dict().items()}
        return {
            f"{self.prefix}{number}.{name}": ("expert", tensor)
            for number in range(self.count)
            for name, tensor in one.items()
        }


def _unfuse(model: "PreTrainedModel") -> dict[str, _Unfused]:
    """Put linear layers of one expert in place of all experts that are published one by one; by module."""
    found = {}
    for path, module in list(model.named_modules()):
        if not is_experts(module):
            continue
        ones = {f"{path}.{name}": tensor[:1] for name, tensor in module.named_parameters()}
        names = revert_weight_conversion(model, ones)
        prefix = next(iter(names)).rpartition(".0.")[0] + "."
        if not all(
            name.startswith(f"{prefix}0.") and name.endswith(".weight") and tensor.dim() == 2
            for name, tensor in names.items()
        ):
            continue
        one = torch.nn.Module()
        for name, tensor in names.items():
            outputs, inputs = tensor.shape
            layer = torch.nn.Linear(inputs, outputs, bias=False, device="meta", dtype=tensor.dtype)
            one.add_module(name.removeprefix(f"{prefix}0.").removesuffix(".weight"), layer)
        holder = _Holder()
        holder.add_module("0", one)
        model.set_submodule(path, holder)
        found[path] = _Unfused(prefix, next(module.parameters()).shape[0])
    return found


def _mxfp4(plain: Tensors) -> Tensors:
    """Experts as blocks of 32 values of 4 bits with a scale of 8 bits each; the quantiser's module wants its kernels.

    As gpt-oss publishes them: [experts, outputs, inputs / 32, 16 bytes]; plain ones are [experts, inputs, outputs].
    """
    found: Tensors = {}
    for name, (kind, tensor) in plain.items():
        if kind != "expert" or tensor.dim() != 3:
            found[name] = kind, tensor
            continue
        experts, inputs, outputs = tensor.shape
        blocks = (experts, outputs, inputs // MXFP4_BLOCK)
        for part, shape in (("blocks", (*blocks, MXFP4_BLOCK // 2)), ("scales", blocks)):
            found[f"{name}_{part}"] = kind, torch.empty(shape, dtype=torch.uint8, device="meta")
    return found
