"""The shape of a model, from what transformers builds of its config."""

import json
from functools import cache

from speed_benchmark.cell import canonical_json
from speed_benchmark.models.config import Config
from speed_benchmark.models.shape import Forward, Shape
from speed_benchmark.models.shapes import forward, operations, quantized, skeleton, tensors
from speed_benchmark.record.cost import Experts


def shape_of(config: Config) -> Shape:
    """The shape of the model of a config.json. Raises whatever transformers raises."""
    quantization = config.get("quantization_config")
    without = {key: value for key, value in config.items() if key != "quantization_config"}
    model = skeleton.build(without)
    plain = found = tensors.published(model)
    if quantization is not None:
        found = quantized.quantized(model, quantization, plain)
    text = model.config.get_text_config(decoder=True)
    passed, experts, note = _forward(canonical_json(without))
    return Shape(
        architecture=type(model).__name__,
        dtype=tensors.DTYPES[model.dtype],
        hidden_size=text.hidden_size,
        attention_heads=getattr(text, "num_attention_heads", None) or 1,  # a model of states alone has none
        layer_count=text.num_hidden_layers,
        tensors=tensors.grouped(found, quantized.weights_held(found, plain)),
        experts=experts,
        forward=passed,
        note=note,
    )


@cache
def _forward(config_json: str) -> tuple[Forward | None, Experts | None, str]:
    """What the plain model computes; the same for all formats of a model.

    A model that also sees or hears may look at values for that, which its text model does not.
    """
    config = json.loads(config_json)
    notes, model = [], None
    for text_only in (False, True):
        try:
            model = skeleton.build(config, text_only=text_only)
            return *forward.forward_of(model), ""
        except Exception as error:  # noqa: BLE001 - what it computes depends on values, in some way of its own
            notes.append(f"{type(error).__name__}: {error}"[:300])
    return None, operations.experts_told(model) if model else None, notes[0]
