"""A model of vLLM: seed it, and read back from it what was loaded.

Written against the sources of vLLM 0.26 and 0.32; where they differ a comment says how.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from vllm import envs
from vllm.compilation.counter import compilation_counter
from vllm.model_executor.layers.linear import LinearBase
from vllm.platforms import current_platform
from vllm.utils.torch_utils import set_random_seed
from vllm.v1.core.kv_cache_utils import get_max_concurrency_for_kv_cache_config
from vllm.v1.kv_cache_interface import AttentionSpec, KVCacheConfig, KVCacheSpec

from speed_benchmark.engines.held import Held, format_of, type_name
from speed_benchmark.engines.protocol import Loaded
from speed_benchmark.engines.trace import DeviceTrace
from speed_benchmark.engines.vllm import kernels
from speed_benchmark.engines.vllm.settings import SPARE_BLOCKS
from speed_benchmark.machine.describe import describe
from speed_benchmark.record.base import Frozen

if TYPE_CHECKING:
    from vllm import LLM
    from vllm.model_executor.layers.attention import Attention

DEFAULT_POOL = (0, 0)
KERNEL_NAMES = ("moe_kernel", "kernel", "linear_kernel", "fp8_linear")
EXTENSION = f"{__name__}.Extension"
"""What `worker_extension_cls` is to name, so that vLLM mixes it in with its worker."""


class Shard(Frozen):
    """What one worker of vLLM shows of its share of the model."""

    attention_implementation: str
    quantization: str
    quantization_kernels: tuple[str, ...]
    linear_inputs: tuple[str, ...]
    dtype: str
    execution: str
    weight_bytes: int
    rope: str
    device: str
    runner: str
    sampler: str
    kv_cache_dtype: str | None
    kv_cache_bytes: int
    kv_cache_bytes_per_token: int
    kv_cache_capacity_tokens: int
    kv_cache_block_tokens: int | None
    activation_peak_bytes: int | None
    graph_bytes: int | None


class Extension:
    """What vLLM's worker can do for this tool, in whatever process it is.

    It is asked by name, since no code is sent there, and what it returns goes through MessagePack. No method of a
    worker begins as these do.
    """

    device: torch.device
    model_runner: Any
    compilation_config: Any
    vllm_config: Any

    def benchmark_shard(self, declared: str) -> dict[str, Any]:
        """What it holds of the model, as a `Shard`; `declared` is the format of packed weights by their checkpoint."""
        return shard(self, declared).model_dump()

    def benchmark_seed(self, value: int) -> None:
        """Seed every generator that sampling draws from."""
        set_random_seed(value)

    def benchmark_watch_logits(self) -> None:
        """Look at all logits that it computes, until they are asked for."""
        model = self.model_runner.get_model()
        compute = model.compute_logits
        model.logits_seen = []

        def computed(*arguments: Any, **named: Any) -> torch.Tensor | None:  # noqa: ANN401 - the model's own
            logits: torch.Tensor | None = compute(*arguments, **named)
            if logits is not None:  # another worker of a tensor-parallel group has them
                model.logits_seen.append(bool(torch.isfinite(logits).all()))
            return logits

        model.compute_logits = computed

    def benchmark_finite_logits(self) -> bool | None:
        """Whether all logits since `benchmark_watch_logits` were finite, None where it saw none."""
        model = self.model_runner.get_model()
        seen: list[bool] = model.logits_seen
        del model.compute_logits, model.logits_seen  # the class's own is there again
        return all(seen) if seen else None

    def benchmark_trace(self) -> None:
        """Begin to note what runs on its device."""
        self.benchmark_tracer = DeviceTrace(torch)
        self.benchmark_tracer.start()

    def benchmark_traced(self, tokens: int) -> dict[str, Any]:
        """The steps since then, about so many, as a `DeviceWindow`."""
        return self.benchmark_tracer.stop(tokens).model_dump()


def read_back(llm: "LLM", declared: str, reasons: tuple[str, ...]) -> Loaded:
    """What `llm` shows of itself; bytes are summed over the GPUs."""
    shards = [Shard.model_validate(one) for one in llm.collective_rpc("benchmark_shard", args=(declared,))]
    config = llm.llm_engine.vllm_config
    first = shards[0]
    return Loaded(
        attention_implementation=first.attention_implementation,
        quantization=first.quantization,
        quantization_kernels=first.quantization_kernels,
        linear_inputs=first.linear_inputs,
        dtype=first.dtype,
        execution=first.execution,
        weight_bytes=sum(shard.weight_bytes for shard in shards),
        rope=first.rope,
        devices=tuple(shard.device for shard in shards),
        prefix_caching=config.cache_config.enable_prefix_caching,
        max_model_len=config.model_config.max_model_len,
        max_sequences=config.scheduler_config.max_num_seqs,
        max_batched_tokens=config.scheduler_config.max_num_batched_tokens,
        engine_core="process" if envs.VLLM_ENABLE_V1_MULTIPROCESSING else "inproc",
        async_scheduling=bool(config.scheduler_config.async_scheduling),
        model_runner=first.runner,
        sampler=first.sampler,
        preallocates=True,
        kv_cache_dtype=first.kv_cache_dtype,
        kv_cache_bytes_per_token=sum(shard.kv_cache_bytes_per_token for shard in shards),
        kv_cache_block_tokens=first.kv_cache_block_tokens,
        kv_cache_spare_blocks=SPARE_BLOCKS if first.kv_cache_block_tokens else 0,
        kv_cache_capacity_tokens=min(shard.kv_cache_capacity_tokens for shard in shards),
        kv_cache_allocated_bytes=sum(shard.kv_cache_bytes for shard in shards),
        activation_peak_bytes=_sum(shard.activation_peak_bytes for shard in shards),
        graph_bytes=_sum(shard.graph_bytes for shard in shards),
        reasons=reasons,
        forced=_forced(),
    )


def _forced() -> tuple[str, ...]:
    """What was turned off that vLLM would use on this GPU."""
    if not (kernels.is_forced_off() and current_platform.is_cuda()):
        return ()
    from vllm.v1.attention.backends.flashinfer import FlashInferBackend

    capability = current_platform.get_device_capability()
    supported = capability is not None and FlashInferBackend.supports_compute_capability(capability)
    return (f"FlashInfer's sampler ({kernels.VARIABLE}=0)",) if supported else ()


def shard(worker: Extension, declared: str) -> Shard:
    """What a worker holds."""
    runner = worker.model_runner
    model = runner.get_model()
    modules = list(model.modules())
    layers = [module for module in modules if isinstance(module, LinearBase) or _is_experts(module)]
    layers_with_state = worker.compilation_config.static_forward_context.values()
    attention = [layer for layer in layers_with_state if hasattr(layer, "attn_backend")]
    cache: KVCacheConfig = runner.kv_cache_config
    on_gpu = worker.device.type == "cuda"
    dtype = next(weight.dtype for weight in model.parameters() if weight.is_floating_point())
    return Shard(
        attention_implementation=_joined(map(_attention_name, attention)) or "none",
        quantization=format_of(map(_held, layers), declared),
        quantization_kernels=tuple(sorted({type(_kernel(layer)).__name__ for layer in layers})),
        linear_inputs=tuple(sorted({_inputs(layer, dtype) for layer in layers})),
        dtype=type_name(dtype),
        execution=_execution(modules),
        weight_bytes=sum(weight.nbytes for weight in model.parameters()) + sum(map(_packed_bytes, layers)),
        rope=_joined(_rope(module.rotary_emb) for module in modules if hasattr(module, "rotary_emb")) or "none",
        runner="V2" if type(runner).__module__.startswith("vllm.v1.worker.gpu.") else "V1",
        sampler=_sampler(runner.sampler),
        device=torch.cuda.get_device_name(worker.device) if on_gpu else describe(()).processor,
        kv_cache_dtype=_joined(map(_cache_type, attention)) or None,
        kv_cache_bytes=_distinct_bytes(layers_with_state),
        kv_cache_bytes_per_token=sum(
            spec.page_size_bytes // spec.block_size for spec in _specs(cache) if isinstance(spec, AttentionSpec)
        ),
        kv_cache_capacity_tokens=_capacity_tokens(worker.vllm_config, cache),
        kv_cache_block_tokens=_block_tokens(cache),
        activation_peak_bytes=_activation_peak_bytes(worker),
        graph_bytes=_graph_bytes() if on_gpu else None,
    )


def _specs(cache: KVCacheConfig) -> Iterator[KVCacheSpec]:
    """What each layer keeps: a group of layers has one for all, or one for each."""
    for group in cache.kv_cache_groups:
        own = getattr(group.kv_cache_spec, "kv_cache_specs", {})
        for name in group.layer_names:
            yield own.get(name, group.kv_cache_spec)


def _block_tokens(cache: KVCacheConfig) -> int | None:
    """The tokens of a block; None where several kinds of layers share the blocks, or keep a state."""
    first, *others = (group.kv_cache_spec for group in cache.kv_cache_groups)
    return None if others or not isinstance(first, AttentionSpec) else int(first.block_size)


def _capacity_tokens(config: Any, cache: KVCacheConfig) -> int:  # noqa: ANN401 - vLLM's own
    """For how many tokens there is room; where kinds of layers share the blocks, in sequences of `max_model_len`."""
    block_tokens = _block_tokens(cache)
    if block_tokens is not None:
        return int(cache.num_blocks * block_tokens)
    return int(get_max_concurrency_for_kv_cache_config(config, cache) * config.model_config.max_model_len)


def _distinct_bytes(layers: Iterable[Any]) -> int:
    """What the caches of all layers take; some share their memory."""
    kept = {}
    for layer in layers:
        tensors = getattr(layer, "kv_cache", ())
        for tensor in [tensors] if isinstance(tensors, torch.Tensor) else tensors:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
    return sum(kept.values())


def _cache_type(layer: "Attention") -> str:
    """As vLLM calls it, for what holds 8 bits is of one type for all of these."""
    told = str(getattr(layer, "kv_cache_dtype", "auto"))
    return type_name(layer.kv_cache.dtype) if told == "auto" else told


def _attention_name(layer: "Attention") -> str:
    version = getattr(getattr(layer, "impl", None), "vllm_flash_attn_version", None)
    return f"{layer.attn_backend.get_name()} {version or ''}".strip()


def _is_experts(module: torch.nn.Module) -> bool:
    """Whether it holds all experts of a layer; the class has another name in 0.26."""
    return hasattr(module, "quant_method") and hasattr(module, "local_num_experts")


def _held(layer: torch.nn.Module) -> Held:
    """Its largest tensor, and the weights that are in it."""
    if isinstance(layer, LinearBase) and _packed_bytes(layer):
        return Held(dtype=layer.weight.dtype, stored_bytes=_packed_bytes(layer), weights=_weights(layer))
    largest = max(layer.parameters(recurse=False), key=lambda tensor: int(tensor.nbytes))
    return Held(dtype=largest.dtype, stored_bytes=largest.nbytes, weights=_weights(layer) or largest.numel())


def _weights(layer: torch.nn.Module) -> int:
    """How many its largest tensor holds; of experts that is the product into their middle."""
    if isinstance(layer, LinearBase):
        inputs = getattr(layer, "input_size_per_partition", layer.input_size)  # a replicated one has no partitions
        return int(inputs * getattr(layer, "output_size_per_partition", layer.output_size))
    halves = 2 if layer.moe_config.is_act_and_mul else 1
    return int(layer.local_num_experts * halves * layer.hidden_size * layer.intermediate_size_per_partition)


def _packed_bytes(layer: torch.nn.Module) -> int:
    """Plain weights that vLLM has packed for the CPU: it keeps them elsewhere and leaves an empty parameter."""
    weight = getattr(layer, "weight", None)
    return 0 if weight is None or weight.numel() else _weights(layer) * int(weight.element_size())


def _kernel(layer: Any) -> Any:  # noqa: ANN401 - of many classes, as its result
    """What multiplies: a kernel of the method, or of its scheme, by any of its names; else the method itself."""
    for holder in (layer.quant_method, getattr(layer, "scheme", None)):
        for name in KERNEL_NAMES:
            kernel = getattr(holder, name, None)
            if kernel is not None:
                return getattr(kernel, "fused_experts", kernel)
    return getattr(layer, "scheme", None) or layer.quant_method


def _inputs(layer: torch.nn.Module, dtype: torch.dtype) -> str:
    """The type in which inputs are multiplied: what the kernel is set up for, else that of the activations."""
    kernel = _kernel(layer)
    config = getattr(kernel, "config", None) or getattr(kernel, "quant_config", None)
    if hasattr(config, "is_static_input_scheme"):
        return "int8"
    told = (
        getattr(config, "act_type", None)
        or getattr(getattr(config, "activation_quant_key", None), "dtype", None)
        or getattr(config, "quant_dtype", None)
    )
    return type_name(told) if told else type_name(dtype)


def _sampler(sampler: Any) -> str:  # noqa: ANN401 - the runner's own, of one of two classes
    """What chooses among the most likely tokens: FlashInfer's kernel, or PyTorch's operations."""
    forward = getattr(getattr(sampler, "topk_topp_sampler", None), "forward", None)
    flashinfer = getattr(sampler, "use_flashinfer", False) or getattr(forward, "__name__", "") == "forward_cuda"
    return "flashinfer" if flashinfer else "pytorch"


def _rope(rotary: torch.nn.Module) -> str:
    """The rotary position embedding that the model computes with."""
    name = type(rotary).__name__
    if name == "YaRNScalingRotaryEmbedding":
        return f"yarn factor {float(rotary.scaling_factor)}"
    return "default" if name == "RotaryEmbedding" else name


def _execution(modules: list[torch.nn.Module]) -> str:
    compiled = ["compiled"] if any(map(_is_compiled, modules)) else []
    graphs = ["cuda_graphs"] if compilation_counter.num_cudagraph_captured else []
    return "+".join(compiled + graphs) or "eager"


def _is_compiled(module: torch.nn.Module) -> bool:
    """Whether it was compiled here, or loaded as compiled before."""
    if getattr(module, "do_not_compile", True):
        return False
    return bool(module.compiled) or getattr(module, "aot_compiled_fn", None) is not None


def _activation_peak_bytes(worker: Any) -> int | None:  # noqa: ANN401 - has what its version of vLLM gives it
    """What vLLM's trial run took at its peak beyond weights; None where it made none."""
    peak = getattr(worker, "peak_activation_memory", None)
    if peak is None:
        return None
    # 0.32, which has total_consumed, adds what it expects the graphs to take.
    with_graphs = hasattr(worker, "total_consumed") and envs.VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS
    return int(peak - (worker.cudagraph_memory_estimate if with_graphs else 0))


def _graph_bytes() -> int:
    """What the allocator holds in the CUDA graphs' own pools; the driver's share of a graph is not in it."""
    segments = torch.cuda.memory_snapshot()
    return sum(segment["total_size"] for segment in segments if tuple(segment["segment_pool_id"]) != DEFAULT_POOL)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _joined(names: Iterable[str]) -> str:
    return "+".join(sorted(set(names)))
