"""The project's figure beside a bare loop over the same engine, alternating in one process.

One loaded engine answers the same request twice a round, in random order: once through the project's measured
call (streamed tokens, pulse to the parent, memory readers), once through the engine's own `generate` with two
readings of the clock around it. Prints each round, the ratio of the tokens/s (project / bare) and its spread;
exits 1 where the median ratio is below 0.99.

usage: fidelity.py ENGINE [--model ID] [--context N] [--generate N] [--rounds N] [--gpu] [--compile]
"""

import argparse
import os
import random
import statistics
import sys
import time
from typing import Any

from speed_benchmark import engines
from speed_benchmark.cell import EngineSettings, Model, for_engine
from speed_benchmark.engines.protocol import Load, Request, Sampling
from speed_benchmark.measure.memory import MemoryReader
from speed_benchmark.measure.request import measure
from speed_benchmark.models.source import fetch
from speed_benchmark.plan import build
from speed_benchmark.prompts import make_prompt
from speed_benchmark.worker import Pipe, Pulse

LEAST_RATIO = 0.99


def bare_transformers(engine: Any, request: Request) -> float:
    """Seconds of a plain `generate()`."""
    import torch

    engine.prepare(request)
    if request_on_gpu := torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    ids = engine._model.generate(**engine._arguments)
    if request_on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    assert ids.shape[1] == len(request.prompt_token_ids) + request.generate_length
    return seconds


def bare_vllm(engine: Any, request: Request) -> float:
    """Seconds of a plain `LLM.generate`."""
    from vllm.sampling_params import RequestOutputKind

    engine.prepare(request)
    params = engine._params.clone()
    params.output_kind = RequestOutputKind.FINAL_ONLY
    prompt = {"prompt_token_ids": list(request.prompt_token_ids)}
    start = time.perf_counter()
    (output,) = engine._llm.generate([prompt], params, use_tqdm=False)
    seconds = time.perf_counter() - start
    assert len(output.outputs[0].token_ids) == request.generate_length
    return seconds


BARE = {"transformers": bare_transformers, "vllm": bare_vllm}


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=BARE)
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()

    model = Model(model_id_or_path=asked.model, weights="synthetic")
    fetched = fetch(model, lambda *_: None)
    given: dict[str, Any] = (
        {"max_model_len": max(1024, asked.context + asked.generate)} if asked.engine == "vllm" else {}
    )
    given |= {"compile": True} if asked.compile else {}
    settings = build(EngineSettings, for_engine(asked.engine, given) | {"gpu_count": int(asked.gpu)})
    engine = engines.find(asked.engine)()
    total = asked.context + asked.generate
    loaded = engine.load(Load(checkpoint_dir=str(fetched.folder), settings=settings, max_total_tokens=total))
    _, prompt = make_prompt(fetched.folder, asked.context, fetched.config["vocab_size"], seed=0)
    sampling = Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1)
    request = Request(prompt_token_ids=prompt, generate_length=asked.generate, sampling=sampling, seed=0)
    memory = MemoryReader((0,) if asked.gpu else ())
    pipe = Pipe(os.open(os.devnull, os.O_WRONLY))

    def project() -> float:
        times: list[float] = []
        with Pulse(pipe, times):
            return measure(engine, request, memory, times).duration_s

    def bare() -> float:
        return BARE[asked.engine](engine, request)

    for warm_up in (project, bare, project, bare):
        warm_up()
    ratios, speeds = [], {"project": [], "bare": []}  # type: ignore[var-annotated]
    for number in range(asked.rounds):
        calls = [("project", project), ("bare", bare)]
        random.shuffle(calls)
        for name, call in calls:
            speeds[name].append(asked.generate / call())
        ratios.append(speeds["project"][-1] / speeds["bare"][-1])
        print(
            f"round {number + 1:2}: project {speeds['project'][-1]:8.2f} tokens/s, bare {speeds['bare'][-1]:8.2f},"
            f" ratio {ratios[-1]:.4f}",
            flush=True,
        )
    ratio = statistics.median(speeds["project"]) / statistics.median(speeds["bare"])
    low, _, high = statistics.quantiles(ratios, n=4)
    print(
        f"{asked.engine} {asked.model} {loaded.execution} on {', '.join(loaded.devices)}: {asked.context} in, {asked.generate} out"
    )
    print(
        f"ratio of the medians {ratio:.4f}; of the rounds: median {statistics.median(ratios):.4f}, quartiles {low:.4f} to {high:.4f}"
    )
    engine.close()
    return int(ratio < LEAST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
