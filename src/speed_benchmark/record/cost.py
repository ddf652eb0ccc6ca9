"""What a token costs at least, in a mixture of experts, behind windows and with states too."""

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar

from annotated_types import MaxLen
from pydantic import Field, model_validator

from speed_benchmark.record.base import Bytes, Count, Frozen, Positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CacheKind = Literal["full", "sliding", "latent", "state", "none"]
"""What a layer keeps of the tokens before: all, those of a window, a compressed vector of each, or a fixed state."""

# Of layers that are unlike: as many as the deepest models have.
MOST_LAYERS = 1024

_Tokens = TypeVar("_Tokens", float, "NDArray[np.float64]")


class Experts(Frozen):
    """A mixture of experts: how many a layer has, and how many of them each token goes through."""

    count: Positive = Field(description="experts of a layer")
    active: Positive = Field(description="experts that each token goes through")

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if self.active > self.count:
            raise ValueError(f"a token goes through {self.active} of {self.count} experts")
        return self

    def touched(self, tokens: _Tokens) -> _Tokens:
        """How many of a layer's experts so many tokens go through together, on average, if a router spreads evenly."""
        missed: _Tokens = (1 - self.active / self.count) ** tokens
        return self.count * (1 - missed)


class LayerGroup(Frozen):
    """Layers that keep and compute the same for the tokens before.

    A layer keeps `values_per_token` of each of them, or of the last `window_tokens`, and `state_bytes` whatever their
    number. For each token that it looks back at, a new one takes `flops_per_position`; `latent_flops_per_position` in
    decoding where it looks at the compressed vectors as they are kept, and does not unpack them.
    """

    kind: CacheKind = Field(description="what a layer keeps of the tokens before")
    count: Positive = Field(description="how many layers")
    values_per_token: Count = Field(description="values that a layer keeps of a token")
    window_tokens: Positive | None = Field(default=None, description="of how many last tokens; null: of all")
    state_bytes: Bytes = Field(default=0, description="bytes that a layer keeps whatever the number of tokens")
    flops_per_position: Count = Field(description="operations of a token for each one that it looks back at")
    latent_flops_per_position: Count | None = Field(
        default=None, description="the same in decoding by the compressed vectors"
    )

    def positions(self, tokens: int) -> int:
        """How many of `tokens` a layer keeps and looks at."""
        return tokens if self.window_tokens is None else min(tokens, self.window_tokens)

    def positions_of_prefill(self, tokens: int) -> int:
        """At how many tokens all tokens of a prompt together look, each at itself and those before it."""
        rising = self.positions(tokens)
        return rising * (rising + 1) // 2 + (tokens - rising) * rising


class TokenCost(Frozen):
    """What one token of one sequence costs at least, from the model's shape and weight format.

    A decoding step of B sequences at position n reads `weight_bytes` once and B n times `kv_cache_bytes_per_token`, and
    computes B `flops` and B n times `attention_flops_per_token`. Prefill computes `prefill_flops` for each token of a
    prompt, the output layer for its last one alone, and attention of each token to those before it.

    With `experts`, `weight_bytes` holds those of one token; several touch more of all `expert_bytes`. With `layers`
    these say what is kept and computed for the tokens before, and the two figures of a token hold within all windows.
    """

    weight_bytes: Positive = Field(description="bytes of weights that a decoding step of one sequence reads")
    kv_cache_bytes_per_token: Bytes = Field(description="bytes of the key-value cache of one token")
    flops: Positive = Field(description="operations of a decoding step, attention aside")
    attention_flops_per_token: Count = Field(description="operations of attention to one token before")
    prefill_flops: Count = Field(description="operations of one token of the prompt, attention and output layer aside")
    devices_at_once: Positive = Field(default=1, description="devices a step is split over; 1 where they take turns")
    layers: Annotated[tuple[LayerGroup, ...], MaxLen(MOST_LAYERS)] = Field(
        default=(), description="what layers keep and compute for the tokens before; none: all of them, in all layers"
    )
    experts: Experts | None = Field(default=None, description="mixture of experts")
    expert_bytes: Bytes = Field(default=0, description="bytes of all experts of all layers")
