"""A model of transformers: load it, and read back from it what was loaded."""

import gc
import os
import re
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from speed_benchmark.cell import EngineSettings
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
PLAIN_FORMATS = {torch.bfloat16: "BF16", torch.float16: "FP16", torch.float32: "FP32"}


def load(load: LoadRequest) -> tuple["PreTrainedModel", tuple[str, ...]]:
    """The model, and why it does not run on the kernel that would be the usual choice.

    Raises UnsupportedError where a package or every kernel is missing, OutOfMemoryError where the model does not
    fit the GPUs.
    """
    quantization = getattr(_config(load), "quantization_config", None)
    if quantization is not None:
        return _load_quantized(load, str(quantization.get("quant_method")))
    try:
        return _from_pretrained(load, _config(load)), ()
    except ImportError as error:
        raise UnsupportedError(_first_line(error)) from error


def read_back(model: "PreTrainedModel", execution: str, reasons: tuple[str, ...]) -> Loaded:
    """What `model` shows of itself."""
    config = model.config.get_text_config()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers = [
        module
        for module in model.modules()
        if module is not model.get_output_embeddings()
        and (hasattr(module, "qweight") or isinstance(module, torch.nn.Linear))
    ]
    # Tied weights have two names and one address.
    weights = {tensor.data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}
    devices = sorted({parameter.device for parameter in model.parameters()}, key=str)
    return Loaded(
        attention_implementation=model.config._attn_implementation,
        quantization="+".join(sorted({_weight_format(layer) for layer in layers})),
        quantization_kernels=tuple(sorted({type(layer).__name__ for layer in layers})),
        dtype=_name(model.dtype),
        execution=execution,
        weight_bytes=sum(weights.values()),
        rope=_rope(model),
        devices=tuple(_device_name(device) for device in devices),
        kv_cache_dtype=_name(model.dtype),
        kv_cache_bytes_per_token=(
            config.num_hidden_layers * 2 * config.num_key_value_heads * head_dim * model.dtype.itemsize
        ),
        reasons=reasons,
        finite_logits=_finite_logits(model),
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


def _load_quantized(load: LoadRequest, method: str) -> tuple["PreTrainedModel", tuple[str, ...]]:
    if method not in KERNELS:
        raise UnsupportedError(f"no kernel here for weights quantised by {method}, only for {' and '.join(KERNELS)}")
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
    model = AutoModelForCausalLM.from_pretrained(
        load.checkpoint_dir,
        config=config,
        dtype=load.settings.dtype,
        attn_implementation=TransformersSettings.of(load.settings).attn_implementation,
        device_map=_device_map(load.settings),
        trust_remote_code=load.trust_remote_code,
        use_safetensors=None if load.allow_pickle else True,
        local_files_only=True,
    )
    if load.settings.gpu_count > 1 and {"cpu", "disk"} & {str(place) for place in model.hf_device_map.values()}:
        raise OutOfMemoryError(f"the weights need more memory than {load.settings.gpu_count} GPUs have")
    return model


def _device_map(settings: EngineSettings) -> str | dict[str, str]:
    if settings.gpu_count > 1:
        return "auto"
    return {"": "cuda:0" if settings.gpu_count else "cpu"}


def _weight_format(layer: torch.nn.Module) -> str:
    """Plain formats by the type of the weights; others by the kernel's class and the bits stored for each weight."""
    if not hasattr(layer, "qweight"):
        return PLAIN_FORMATS.get(layer.weight.dtype) or _name(layer.weight.dtype)
    method = layer.SUPPORTS_METHODS[0].value.upper()
    bits = round(8 * layer.qweight.nbytes / (layer.in_features * layer.out_features))
    return "AWQ" if (method, bits) == ("AWQ", 4) else f"{method}-Int{bits}"


def _finite_logits(model: "PreTrainedModel") -> bool:
    """Whether all logits of a prompt of eight tokens are finite."""
    with torch.no_grad():
        logits = model(input_ids=torch.arange(8, device=model.device)[None]).logits
    return bool(torch.isfinite(logits).all())


def _rope(model: "PreTrainedModel") -> str:
    """The rotary position embedding that `model` computes with."""
    rotary = next((module for module in model.modules() if hasattr(module, "rope_type")), None)
    if rotary is None:
        return "none"
    factor = rotary.config.rope_parameters.get("factor")
    return f"{rotary.rope_type} factor {float(factor)}" if factor else str(rotary.rope_type)


def _device_name(device: torch.device) -> str:
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else describe(()).processor


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _first_line(error: BaseException) -> str:
    """What an error says before it goes on to advice, and to paths of this machine."""
    clauses = (clause.strip() for clause in re.split(r"[\n;]|\. ", str(error)))
    return next(filter(None, clauses), type(error).__name__)[:LONGEST_REASON]
