"""Sums over a shape, against figures counted by hand."""

import pytest

from speed_benchmark.models.shape import Forward, Shape, TensorGroup, natural, numbers_of, products
from speed_benchmark.record.cost import Experts, LayerGroup

FULL = LayerGroup(kind="full", count=2, values_per_token=10, flops_per_position=40)
SLIDING = LayerGroup(kind="sliding", count=3, values_per_token=10, window_tokens=4, flops_per_position=40)
STATE = LayerGroup(kind="state", count=1, values_per_token=0, state_bytes=77, flops_per_position=0)
LATENT = LayerGroup(kind="latent", count=1, values_per_token=5, flops_per_position=100, latent_flops_per_position=300)


def group(
    name: str, shape: tuple[int, ...], kind: str, *, dtype: str = "BF16", weights: int | None = None
) -> TensorGroup:
    elements = 1
    for size in shape:
        elements *= size
    return TensorGroup.model_validate(
        {
            "name": name,
            "numbers": [range(3) for _ in range(name.count("{}"))],
            "dtype": dtype,
            "shape": shape,
            "kind": kind,
            "weights": elements if weights is None else weights,
        }
    )


SHAPE = Shape(
    architecture="Any",
    dtype="BF16",
    hidden_size=8,
    attention_heads=2,
    layer_count=7,
    tensors=(
        group("embed.weight", (100, 8), "embedding"),
        group("layers.{}.experts.{}.weight", (4, 8), "expert"),
        group("layers.{}.q.qweight", (4, 8), "attention", dtype="I32", weights=256),
        group("layers.{}.q.scales", (4,), "attention", dtype="F16", weights=0),
        group("layers.{}.q.g_idx", (4,), "attention", dtype="I32", weights=0),
        group("vision.weight", (5,), "encoder"),
        group("head.weight", (100, 8), "output"),
    ),
    experts=Experts(count=3, active=1),
    forward=Forward(flops=1000, output_flops=300, widest_values=16, layers=(FULL, SLIDING, STATE, LATENT)),
)


def test_bytes_and_weights() -> None:
    packed = 3 * (32 * 4 + 4 * 2 + 4 * 4)
    plain = 800 + 9 * 32 + 5 + 800
    assert SHAPE.weight_bytes() == 2 * plain + packed
    assert SHAPE.weight_bytes(4) == 4 * plain + packed
    assert SHAPE.parameters() == plain + 3 * 256
    assert SHAPE.parameters("expert") == 288
    assert SHAPE.active_parameters() == 288 // 3 + 3 * 256 + 800


def test_a_step_reads_the_experts_that_it_goes_through_and_rows_of_the_embedding() -> None:
    always = 3 * (32 * 4 + 4 * 2) + 1600
    assert SHAPE.read_bytes() == always + 16 + 576 // 3
    touched = 3 * (1 - (2 / 3) ** 2)
    assert SHAPE.read_bytes(2) == always + 32 + round(576 * touched / 3)
    assert SHAPE.read_bytes(10_000) == always + 1600 + 576


def test_a_window_caps_what_is_kept_and_a_state_does_not_grow() -> None:
    assert SHAPE.kv_cache_bytes(3, 2) == 2 * 3 * 10 * 2 + 3 * 3 * 10 * 2 + 77 + 3 * 5 * 2
    assert SHAPE.kv_cache_bytes(100, 1) == 2 * 100 * 10 + 3 * 4 * 10 + 77 + 100 * 5


def test_operations() -> None:
    assert SHAPE.decode_flops(1) == 1000 + 2 * 40 + 3 * 40 + 100
    assert SHAPE.decode_flops(100) == 1000 + 2 * 40 * 100 + 3 * 40 * 4 + 100 * 100
    assert SHAPE.decode_flops(100, latent=True) - SHAPE.decode_flops(100) == 100 * 200
    one_by_one = sum(SHAPE.decode_flops(tokens) - 300 for tokens in range(1, 11))
    assert SHAPE.prefill_flops(10) == one_by_one + 300


def test_what_is_not_known_is_said() -> None:
    unknown = SHAPE.model_copy(update={"forward": None, "note": "it looks at values"})
    with pytest.raises(ValueError, match="not known: it looks at values"):
        unknown.decode_flops(1)
    assert unknown.weight_bytes() == SHAPE.weight_bytes()


def test_names_and_numbers() -> None:
    assert numbers_of("h.10.e.2.w") == ("h.{}.e.{}.w", (10, 2))
    assert sorted(["h.10.w", "h.9.w", "a"], key=natural) == ["a", "h.9.w", "h.10.w"]
    assert [tensor.name for tensor in SHAPE.each_tensor()][:2] == ["embed.weight", "head.weight"]
    assert products({()}) == [()]
    assert products({(1,), (0,)}) == [((0, 1),)]
    assert products({(0, 0), (0, 1), (1, 0), (1, 1)}) == [((0, 1), (0, 1))]
    assert sorted(products({(0, 0), (0, 1), (1, 1)})) == [((0,), (0, 1)), ((1,), (1,))]
