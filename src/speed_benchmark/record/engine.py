"""What really ran, read back from the loaded engine."""

from typing import Literal

from pydantic import Field

from speed_benchmark.record.base import Bytes, Count, Frozen, Positive, Text


class Sampling(Frozen):
    """How the next token is chosen, the same on every engine."""

    temperature: float = Field(default=0.0, ge=0, le=1e6, description="0 is greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus sampling; 1 means no cut")
    top_k: Count = Field(default=0, description="most likely tokens to choose from; 0 means no cut")
    repetition_penalty: float = Field(default=1.0, gt=0, le=1e6, description="1 means none")


class Loaded(Frozen):
    """What really runs, read back from the loaded engine and never from the flags."""

    attention_implementation: Text = Field(description="what computes attention")
    quantization: Text = Field(
        description="weight format that most weights have, as the loaded layers show it: BF16, FP8, GPTQ-Int4, ..."
    )
    quantization_kernels: tuple[Text, ...] = Field(
        default=(), description="classes that compute the linear layers and the experts"
    )
    linear_inputs: tuple[Text, ...] = Field(
        default=(), description="types in which the inputs of linear layers and experts are multiplied; none: not known"
    )
    experts_touched: Positive | None = Field(
        default=None, description="most experts of a layer that a prompt of eight tokens went through"
    )
    dtype: Text = Field(description="type of the activations")
    execution: Text = Field(description="eager, compiled, cuda_graphs or compiled+cuda_graphs")
    weight_bytes: Bytes = Field(description="bytes of all weights on the devices")
    rope: Text = Field(description="rotary position embedding: default, or yarn with its factor")
    devices: tuple[Text, ...] = Field(description="names of the devices that hold the weights")
    prefix_caching: bool = Field(default=False, description="whether prompts of earlier requests are reused")
    max_model_len: Count | None = Field(default=None, description="longest prompt plus output that the engine takes")
    max_sequences: Count | None = Field(default=None, description="most sequences that the engine generates at once")
    max_batched_tokens: Count | None = Field(
        default=None, description="most tokens that one step of the engine's scheduler takes in"
    )
    engine_core: Literal["process", "inproc"] | None = Field(
        default=None, description="whether the engine's loop runs in a process of its own or in the caller's"
    )
    async_scheduling: bool | None = Field(
        default=None, description="whether the next step is scheduled while the device computes this one"
    )
    model_runner: Text | None = Field(default=None, description="version of what runs the steps of the model")
    sampler: Text | None = Field(default=None, description="what draws the next token: flashinfer or pytorch")
    preallocates: bool = Field(default=False, description="whether it takes its memory in advance, needed or not")
    kv_cache_dtype: Text | None = Field(default=None, description="type of the key-value cache")
    kv_cache_bytes_per_token: Bytes | None = Field(default=None, description="key-value cache of one token, all layers")
    kv_cache_block_tokens: Positive | None = Field(default=None, description="tokens of a block of the cache")
    kv_cache_spare_blocks: Count = Field(default=0, description="blocks of the cache that are never handed out")
    kv_cache_capacity_tokens: Count | None = Field(default=None, description="tokens that the cache has room for")
    kv_cache_allocated_bytes: Bytes | None = Field(default=None, description="bytes of the cache taken in advance")
    activation_peak_bytes: Bytes | None = Field(
        default=None, description="peak of the engine's trial run beyond weights and cache"
    )
    graph_bytes: Bytes | None = Field(default=None, description="memory of captured CUDA graphs")
    reasons: tuple[Text, ...] = Field(
        default=(), description="why something other than the usual choice runs, in the engine's words"
    )
    forced: tuple[Text, ...] = Field(
        default=(), description="what was turned off by hand that the engine would use here, and its users have"
    )
    finite_logits: bool | None = Field(
        default=None, description="whether the logits of a short prompt were all finite; null: not looked at"
    )
    simulated: bool = Field(default=False, description="whether the engine's clock is virtual: no figure is real")
