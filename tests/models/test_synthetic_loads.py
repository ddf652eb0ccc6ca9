"""Made-up checkpoints of all formats in the real transformers: everything loads, and nothing overflows."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.models import synthetic
from tests.shapes import GENERATION, TINY, tiny

pytestmark = pytest.mark.engine

LAYERS = 24


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        ("", "bfloat16"),
        ("", "float16"),
        ("-GPTQ-Int4", "float16"),
        ("-GPTQ-Int4", "bfloat16"),
        ("-GPTQ-Int8", "float16"),
        ("-AWQ", "float16"),
    ],
)
def test_it_loads_and_stays_finite(tmp_path: Path, suffix: str, dtype: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    config = tiny(suffix, num_hidden_layers=LAYERS, torch_dtype=dtype)
    folder = synthetic.synthesize(config, GENERATION, tmp_path / "model")
    model, loading = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", device_map="cpu", output_loading_info=True
    )
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        output = model(torch.arange(64)[None], output_hidden_states=True)
        stack = [state.float() for state in output.hidden_states]
        weight: Any = model.model.layers[0].mlp.gate_proj(torch.eye(TINY["hidden_size"], dtype=model.dtype))
    assert len(stack) == LAYERS + 1
    assert torch.isfinite(output.logits).all()
    # Far from 65504, float16's largest; and every layer still adds to the stream.
    assert max(float(state.abs().max()) for state in stack) < 100
    assert not any(before.equal(after) for before, after in pairwise(stack))
    # As its kernel dequantises it: the scales and the zero point are right where the mean is 0 and the deviation 0.02.
    assert float(weight.float().mean()) == pytest.approx(
        0.0, abs=5 * 0.02 / (TINY["hidden_size"] * TINY["intermediate_size"]) ** 0.5
    )
    assert float(weight.float().std()) == pytest.approx(0.02, rel=0.02)
