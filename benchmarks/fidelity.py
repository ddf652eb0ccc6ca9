"""The project's figure beside a bare loop over the same engine, alternating in one process.

One loaded engine answers the same request four times a round, in the order ABBA or BAAB: through the project's
measured call (streamed tokens, pulse to the parent, memory readers, the sampler beside it), and through the engine's
own `generate` with two readings of the clock around it. Prints each round, and the median over the rounds of the ratio
of tokens/s (project / bare) with its interval and quartiles: within a round, what drifts hits both alike. Exits 1 where
the median is below 0.99.

usage: fidelity.py ENGINE [--model ID] [--context N] [--generate N] [--rounds N] [--gpu] [--compile]
"""

import argparse
import os
import signal
import statistics
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speed_benchmark.cell import EngineSettings, Model, for_engine
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import Load, Request, Sampling
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.machine.readings import Sampler
from speed_benchmark.models.source import fetch
from speed_benchmark.run.plan import build
from speed_benchmark.run.process import worker_environment
from speed_benchmark.worker.prompts import make_prompt
from speed_benchmark.worker.request import measure
from speed_benchmark.worker.worker import Pipe, Pulse

LEAST_RATIO = 0.99


def bare_transformers(engine: Any, request: Request) -> float:
    """Seconds of a plain `generate()`."""
    engine.prepare(request)
    engine.clock.synchronize()
    start = time.perf_counter()
    ids = engine._model.generate(**engine._arguments)
    engine.clock.synchronize()
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


def median_with_interval(ratios: NDArray[np.float64]) -> tuple[float, float, float]:
    """The median of `ratios`, and the ends of its bootstrapped 95 % interval."""
    drawn = np.median(np.random.default_rng(0).choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


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
    engine = registry.find(asked.engine)()
    total = asked.context + asked.generate
    loaded = engine.load(Load(checkpoint_dir=str(fetched.folder), settings=settings, max_total_tokens=total))
    _, prompt = make_prompt(fetched.folder, asked.context, fetched.config["vocab_size"], seed=0)
    sampling = Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1)
    request = Request(prompt_token_ids=prompt, generate_length=asked.generate, sampling=sampling, seed=0)
    gpus = (0,) if asked.gpu else ()
    memory, sampler = MemoryReader(gpus), Sampler(gpus, worker_environment(gpus))
    pipe = Pipe(os.open(os.devnull, os.O_WRONLY))

    def project() -> float:
        times: list[float] = []
        with Pulse(pipe, times):
            return measure(engine, request, memory, times).duration_s

    def bare() -> float:
        sampler._process.send_signal(signal.SIGSTOP)
        try:
            return BARE[asked.engine](engine, request)
        finally:
            sampler._process.send_signal(signal.SIGCONT)

    for warm_up in (project, bare, project, bare):
        warm_up()
    ratios = []
    for number in range(asked.rounds):
        seconds: dict[str, list[float]] = {"project": [], "bare": []}
        a, b = [("project", project), ("bare", bare)][:: 1 if number % 2 else -1]
        for name, call in (a, b, b, a):
            seconds[name].append(call())
        speeds = {name: asked.generate / statistics.fmean(values) for name, values in seconds.items()}
        ratios.append(speeds["project"] / speeds["bare"])
        print(
            f"round {number + 1:2}: project {speeds['project']:8.2f} tokens/s, bare {speeds['bare']:8.2f},"
            f" ratio {ratios[-1]:.4f}",
            flush=True,
        )
    sampler.end()
    ratio, low, high = median_with_interval(np.array(ratios))
    quartiles = " to ".join(f"{value:.4f}" for value in np.percentile(ratios, [25, 75]))
    ran = f"{asked.engine} {asked.model} {loaded.execution} on {', '.join(loaded.devices)}"
    print(f"{ran}: {asked.context} in, {asked.generate} out, {2 * asked.rounds} requests each")
    print(f"tokens/s, project / bare: median {ratio:.4f}, 95 % between {low:.4f} and {high:.4f}; quartiles {quartiles}")
    engine.close()
    if ratio >= LEAST_RATIO:
        print(f"ok: at least {LEAST_RATIO}")
        return 0
    print(
        f"FAILED: below {LEAST_RATIO}"
        if high < LEAST_RATIO
        else f"UNDECIDED: below {LEAST_RATIO}, but within the spread"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
