"""What tests/engines/test_vllm.py asserts on: vLLM takes one engine per process, so a script of requests runs in one.

Reads one JSON object from standard input and writes one, its last line, to standard output.
"""

import json
import sys
from typing import Any

import psutil

from speed_benchmark.engines.protocol import Load, OutOfMemoryError, Request, UnsupportedError
from speed_benchmark.engines.vllm.engine import VllmEngine


def main() -> None:
    script = json.load(sys.stdin)
    engine = VllmEngine()
    try:
        loaded = engine.load(Load.model_validate(script["load"]))
    except (OutOfMemoryError, UnsupportedError) as error:
        say({"error": type(error).__name__, "text": str(error)})
        return
    requests = [Request.model_validate(request) for request in script["requests"]]
    answers = [answer(engine, request) for request in requests]
    plain = generate_by_llm(engine, requests[0], ignore_eos=True)
    ended = generate_by_llm(engine, requests[0], ignore_eos=False)
    engine.close()
    names = [child.name() for child in psutil.Process().children(recursive=True)]
    left = [name for name in names if "VLLM" in name]
    say({"loaded": loaded.model_dump(), "answers": answers, "plain": plain, "ended": ended, "workers_left": left})


def answer(engine: VllmEngine, request: Request) -> dict[str, Any]:
    times: list[float] = []
    try:
        engine.prepare(request)
    except OutOfMemoryError as error:
        return {"error": str(error)}
    ids = engine.generate(lambda: times.append(engine.clock.now()))
    return {"ids": list(ids), "times": times, "end": engine.clock.now(), "cached": engine.cached_tokens}


def generate_by_llm(engine: VllmEngine, request: Request, *, ignore_eos: bool) -> list[int]:
    """The output of the public `LLM.generate` for the same request, greedy."""
    from vllm import SamplingParams

    assert engine._llm is not None
    params = SamplingParams(temperature=0, max_tokens=request.generate_length, ignore_eos=ignore_eos)
    prompt = {"prompt_token_ids": list(request.prompt_token_ids)}
    (output,) = engine._llm.generate([prompt], params, use_tqdm=False)
    return list(output.outputs[0].token_ids)


def say(what: dict[str, Any]) -> None:
    sys.stdout.write("\n" + json.dumps(what) + "\n")


if __name__ == "__main__":
    main()
