"""A process that loads made-up checkpoints in transformers and runs them: a line for each folder."""

import json
import sys
from collections import Counter
from typing import Any

import torch
from transformers import AutoModelForCausalLM

TOKENS = 96


def told(folder: str) -> dict[str, Any]:
    """What was not loaded, whether logits are finite and differ, the first layer's weights, and how tokens spread.

    `busiest` is the share of the expert of a layer that gets most, `touched` how many of a layer's get any.
    """
    model, loading = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", device_map="cpu", attn_implementation="eager", output_loading_info=True
    )
    sent: list[Counter[int]] = []
    for module in model.modules():
        if type(module).__name__.endswith("Experts"):
            module.register_forward_pre_hook(_counting(sent), with_kwargs=True)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    logits = model(torch.randint(3, model.config.get_text_config().vocab_size, (1, TOKENS))).logits
    first = next((module for name, module in model.named_modules() if name.endswith("mlp.gate_proj")), None)
    weight = first(torch.eye(model.config.get_text_config().hidden_size, dtype=model.dtype)).float() if first else None
    wrong = {key: sorted(map(str, loading[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    return {
        "wrong": {key: names for key, names in wrong.items() if names},
        "finite": bool(torch.isfinite(logits).all()),
        "differ": not logits[0, -1].equal(logits[0, -2]),
        "mean": None if weight is None else float(weight.mean()),
        "std": None if weight is None else float(weight.std()),
        "busiest": [max(counts.values()) / counts.total() for counts in sent],
        "touched": [len(counts) for counts in sent],
    }


def _counting(sent: list[Counter[int]]) -> Any:
    def count(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        chosen = kwargs.get("top_k_index", args[1] if len(args) > 1 else None)
        if chosen is not None:
            sent.append(Counter(chosen.flatten().tolist()))

    return count


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            found = told(name)
        except Exception as error:  # noqa: BLE001 - the test names the folder
            found = {"error": f"{type(error).__name__}: {error}"[:500]}
        sys.stdout.write("told " + json.dumps({"folder": name} | found) + "\n")
