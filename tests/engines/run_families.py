"""Runs vLLM on one model after the other, in one process, and tells what came of each: a line for each."""

import json
import sys
from typing import Any

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines.protocol import LoadRequest, OutOfMemoryError, Request, Sampling, UnsupportedError
from speed_benchmark.engines.vllm.engine import VllmEngine

OPTIONS: dict[str, bool | int | float | str] = {"max_model_len": 64, "enforce_eager": True, "engine_core": "inproc"}


def told(folder: str) -> dict[str, Any]:
    """What vLLM reads back, and generates greedily; or its error."""
    load = LoadRequest(
        checkpoint_dir=folder, settings=EngineSettings(engine="vllm", options=OPTIONS), max_total_tokens=64
    )
    try:
        with VllmEngine().open(load) as running:
            running.prepare(Request(prompts=((5, 7, 9, 11),), generate_length=6, sampling=Sampling(), seed=0))
            return {"loaded": running.loaded.model_dump(), "ids": [list(ids) for ids in running.generate(_deaf)]}
    except (OutOfMemoryError, UnsupportedError) as error:
        return {"error": type(error).__name__, "text": str(error)}


def _deaf(_sequence: int) -> None:
    """Nobody asks when a token comes."""


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write("\ntold " + json.dumps(told(name)) + "\n")
