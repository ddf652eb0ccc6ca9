"""A model of transformers: load it, and read back from it what was loaded."""

import gc
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines.held import Held, format_of, type_name
from speed_benchmark.engines.protocol import Loaded, LoadRequest, OutOfMemoryError, UnsupportedError
from speed_benchmark.engines.transformers.settings import TransformersSettings
from speed_benchmark.machine.describe import describe

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# GPTQModel's names of its kernels, by quantisation method, in the order in which they are tried.
KERNELS = {"gptq": ("auto", "marlin", "triton", "torch"), "awq": ("auto", "marlin", "gemm_triton", "torch_awq")}
PACKAGES = {"gptq": ("gptqmodel", "optimum.gptq"), "awq": ("gptqmodel",)}
HOPPER = (9, 0)
OUT_OF_MEMORY_SIGNS = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
LONGEST_REASON = 300
# Blocks of MXFP4 hold two values in a byte.
BITS_OF_BLOCKS = 4
TRIAL_TOKENS = 8
# What transformers takes by itself where the model has it; else it takes its eager attention.
USUAL_ATTENTION = "sdpa"


def load(load: LoadRequest) -> tuple["PreTrainedModel", tuple[str, ...]]:
    """The model, and why it does not run on the kernel that would be the usual choice.

    Raises UnsupportedError where a package, every kernel or the model itself is unknown here, OutOfMemoryError where
    the model does not fit the GPUs.
    """
    with _refusals():
        config = _config(load)
        quantization = getattr(config, "quantization_config", None)
        method = str(quantization.get("quant_method")) if quantization else ""
        if method in KERNELS:
            return _load_packed(load, method)
        return _from_pretrained(load, config), ()


def read_back(model: "PreTrainedModel", declared: str, execution: str, reasons: tuple[str, ...]) -> Loaded:
    """What `model` shows of itself; `declared` is how its checkpoint calls the format of packed weights."""
    with _refusals():
        tried = _try(model)  # first: some unpack their weights when they run
    layers = list(_layers(model))
    quantization = format_of(map(_held, layers), declared)
    if quantization != declared and getattr(model, "hf_quantizer", None) is not None:
        reasons += (f"weights in {declared} are unpacked to {quantization} by transformers",)
    attention = model.config._attn_implementation
    if not getattr(model, f"_supports_{USUAL_ATTENTION}", True):
        reasons += (f"{type(model).__name__} has no {USUAL_ATTENTION} attention",)
    # Tied weights have two names and one address.
    weights = {tensor.data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}
    devices = sorted({parameter.device for parameter in model.parameters()}, key=str)
    return Loaded(
        attention_implementation=attention,
        quantization=quantization,
        quantization_kernels=tuple(sorted({_kernel(layer, model) for layer in layers})),
        linear_inputs=tuple(sorted({_inputs(layer, model) for layer in layers})),
        experts_touched=tried.experts_touched,
        dtype=type_name(model.dtype),
        execution=execution,
        weight_bytes=sum(weights.values()),
        rope=_rope(model),
        devices=tuple(_device_name(device) for device in devices),
        kv_cache_dtype=tried.kv_cache_dtype,
        kv_cache_bytes_per_token=tried.kv_cache_bytes_per_token,
        reasons=reasons,
        finite_logits=tried.finite_logits,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device, or the host, has too little memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY_SIGNS)


def free_memory() -> None:
    """Give what nothing refers to any more back to the devices."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _config(load: LoadRequest) -> "PreTrainedConfig":
    """The model's config, with `config_overrides` in place of what its config.json says."""
    config_class = type(AutoConfig.from_pretrained(load.checkpoint_dir, trust_remote_code=load.trust_remote_code))
    values, _ = config_class.get_config_dict(load.checkpoint_dir)
    return config_class.from_dict({**values, **load.config_overrides})


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what transformers raises at a model that it can't build or run here into the protocol's error, in a line."""
    try:
        yield
    except (ImportError, NotImplementedError, ValueError) as error:
        raise UnsupportedError(_first_line(error)) from error


def _load_packed(load: LoadRequest, method: str) -> tuple["PreTrainedModel", tuple[str, ...]]:
    """The model on the first of GPTQModel's kernels that can be had, and why not on those before."""
    # GPTQModel sets it otherwise, for quantised weights alone; this is what PyTorch does by itself.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:False")
    for package in PACKAGES[method]:
        try:
            import_module(package)
        except ImportError as error:
            raise UnsupportedError(f"{package} can't be imported ({_first_line(error)}); {method} needs it") from error
    kernels = KERNELS[method]
    if load.settings.gpu_count and torch.cuda.get_device_capability() == HOPPER:
        # What `auto` would take; asked for by its name, GPTQModel also says why it can't be had.
        kernels = ("machete", *kernels[1:])
    reasons: list[str] = []
    for kernel in kernels:
        try:
            return _load_with_kernel(load, kernel), tuple(reasons)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            reasons.append(f"GPTQModel's kernel {kernel} can't be had: {_first_line(error)}")
        free_memory()
    raise UnsupportedError("; ".join(reasons))


def _load_with_kernel(load: LoadRequest, kernel: str) -> "PreTrainedModel":
    """The model, after one token: some kernels are built, and pack their weights, only when they run."""
    config = _config(load)
    config.quantization_config["backend"] = kernel
    model = _from_pretrained(load, config)
    with torch.no_grad():
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device))
    return model


def _from_pretrained(load: LoadRequest, config: "PreTrainedConfig") -> "PreTrainedModel":
    attention = TransformersSettings.of(load.settings).attn_implementation
    model, info = AutoModelForCausalLM.from_pretrained(
        load.checkpoint_dir,
        config=config,
        dtype=load.settings.dtype,
        attn_implementation=None if attention == USUAL_ATTENTION else attention,
        device_map=_device_map(load.settings),
        trust_remote_code=load.trust_remote_code,
        use_safetensors=None if load.allow_pickle else True,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = sorted(info["missing_keys"])
    if missing:  # it would run with whatever values are there
        raise UnsupportedError(f"transformers finds no weights for {missing[0]}, nor for {len(missing) - 1} others")
    if load.settings.gpu_count > 1 and {"cpu", "disk"} & {str(place) for place in model.hf_device_map.values()}:
        raise OutOfMemoryError(f"the weights need more memory than {load.settings.gpu_count} GPUs have")
    return model


def _device_map(settings: EngineSettings) -> str | dict[str, str]:
    if settings.gpu_count > 1:
        return "auto"
    return {"": "cuda:0" if settings.gpu_count else "cpu"}


def _layers(model: "PreTrainedModel") -> Iterator[torch.nn.Module]:
    """Its linear layers, and what holds all experts of a layer in one; the output layer aside."""
    output = model.get_output_embeddings()
    for module in model.modules():
        is_linear = hasattr(module, "qweight") or isinstance(module, torch.nn.Linear | Conv1D)
        if module is not output and (is_linear or _is_experts(module)) and _own_tensors(module):
            yield module


def _is_experts(module: torch.nn.Module) -> bool:
    """Whether it holds all experts of a layer: transformers' classes for that end so."""
    return type(module).__name__.endswith("Experts")


def _own_tensors(module: torch.nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _held(layer: torch.nn.Module) -> Held:
    """Its largest tensor; a layer that does not say how many weights are in it packs none, or blocks in bytes."""
    largest = max(_own_tensors(layer), key=lambda tensor: tensor.nbytes)
    dtype, stored_bytes = largest.dtype, largest.nbytes
    if hasattr(layer, "in_features"):
        weights = layer.in_features * layer.out_features
    else:
        weights = 8 * stored_bytes // BITS_OF_BLOCKS if dtype == torch.uint8 else largest.numel()
    return Held(dtype=dtype, stored_bytes=stored_bytes, weights=weights)


def _kernel(layer: torch.nn.Module, model: "PreTrainedModel") -> str:
    """The class of a layer; of experts also the way in which transformers goes through them, where it has several."""
    way = getattr(model.config, "_experts_implementation", None) if _is_experts(layer) else None
    return " ".join(filter(None, (type(layer).__name__, way)))


def _inputs(layer: torch.nn.Module, model: "PreTrainedModel") -> str:
    """The type of the model's activations, but for weights of 8 bits that are multiplied as they are."""
    held = _held(layer)
    return type_name(held.dtype if held.dtype.itemsize == 1 and held.bits == 8 else model.dtype)


@dataclass(frozen=True)
class _Tried:
    """What a short prompt showed of a model."""

    finite_logits: bool
    kv_cache_dtype: str | None
    kv_cache_bytes_per_token: int
    experts_touched: int | None


def _try(model: "PreTrainedModel") -> _Tried:
    """Run a prompt of eight tokens."""
    with torch.no_grad(), _watched(model) as touched:
        output = model(input_ids=torch.arange(TRIAL_TOKENS, device=model.device)[None], use_cache=True)
    kept = [
        tensor
        for layer in getattr(output.get("past_key_values"), "layers", ())
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if tensor is not None and tensor.numel()
    ]
    return _Tried(
        finite_logits=bool(torch.isfinite(output.logits).all()),
        kv_cache_dtype="+".join(sorted({type_name(tensor.dtype) for tensor in kept})) or None,
        # [sequences, heads, tokens, values]: a window may hold fewer tokens than there were.
        kv_cache_bytes_per_token=sum(tensor.nbytes // tensor.shape[-2] for tensor in kept),
        experts_touched=max(touched, default=None),
    )


@contextmanager
def _watched(model: "PreTrainedModel") -> Iterator[list[int]]:
    """How many experts the tokens of each layer go through, while the model runs; none where they don't show it."""
    touched: list[int] = []

    def note(_: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        chosen = named.get("top_k_index", arguments[1] if len(arguments) > 1 else None)
        if isinstance(chosen, torch.Tensor) and not chosen.is_floating_point():
            touched.append(len(chosen.unique()))

    with ExitStack() as hooks:
        for module in filter(_is_experts, model.modules()):
            hooks.callback(module.register_forward_pre_hook(note, with_kwargs=True).remove)
        yield touched


def _rope(model: "PreTrainedModel") -> str:
    """The rotary position embedding that `model` computes with; several, where kinds of layers have their own."""
    rotary = next((module for module in model.modules() if hasattr(module, "rope_type")), None)
    if rotary is None:
        return "none"
    kinds = rotary.rope_type if isinstance(rotary.rope_type, dict) else {None: rotary.rope_type}
    told = rotary.config.rope_parameters
    return "+".join(sorted({_scaled(str(name), told.get(kind, told)) for kind, name in kinds.items()}))


def _scaled(name: str, parameters: dict[str, Any]) -> str:
    factor = parameters.get("factor")
    return f"{name} factor {float(factor)}" if factor else name


def _device_name(device: torch.device) -> str:
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else describe(()).processor


def _first_line(error: BaseException) -> str:
    """What an error says before it goes on to advice, and to paths of this machine."""
    clauses = (clause.strip() for clause in re.split(r"[\n;]|\. ", str(error)))
    return next(filter(None, clauses), type(error).__name__)[:LONGEST_REASON]
