"""What tests/engines/test_vllm.py asserts on: vLLM takes one engine per process, so a script of requests runs in one.

Reads one JSON object from standard input and writes one, its last line, to standard output.
"""

import json
import sys
from typing import Any

import psutil

from speed_benchmark.engines.protocol import LoadRequest, OutOfMemoryError, Request, UnsupportedError
from speed_benchmark.engines.vllm.engine import RunningVllm, VllmEngine


def main() -> None:
    script = json.load(sys.stdin)
    requests = [Request.model_validate(request) for request in script["requests"]]
    try:
        with VllmEngine().open(LoadRequest.model_validate(script["load"])) as running:
            said = {
                "loaded": running.loaded.model_dump(),
                "answers": [answer(running, request) for request in requests],
                "plain": generate_by_llm(running, requests[0], ignore_eos=True),
                "ended": generate_by_llm(running, requests[0], ignore_eos=False),
            }
    except (OutOfMemoryError, UnsupportedError) as error:
        say({"error": type(error).__name__, "text": str(error)})
        return
    names = [child.name() for child in psutil.Process().children(recursive=True)]
    say({**said, "workers_left": [name for name in names if "VLLM" in name]})


def answer(running: RunningVllm, request: Request) -> dict[str, Any]:
    """The ids of each sequence, and the time and the sequence of each token."""
    times: list[tuple[float, int]] = []
    try:
        running.prepare(request)
    except OutOfMemoryError as error:
        return {"error": str(error)}
    ids = running.generate(lambda sequence: times.append((running.clock.now(), sequence)))
    return {
        "ids": [list(one) for one in ids],
        "times": times,
        "end": running.clock.now(),
        "cached": running.cached_tokens,
    }


def generate_by_llm(running: RunningVllm, request: Request, *, ignore_eos: bool) -> list[list[int]]:
    """The output of the public `LLM.generate` for the same request, greedy."""
    from vllm import SamplingParams

    params = SamplingParams(temperature=0, max_tokens=request.generate_length, ignore_eos=ignore_eos)
    prompts = [{"prompt_token_ids": list(ids)} for ids in request.prompts]
    outputs = running._llm.generate(prompts, params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def say(what: dict[str, Any]) -> None:
    sys.stdout.write("\n" + json.dumps(what) + "\n")


if __name__ == "__main__":
    main()
