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

from speed_benchmark.cell import EngineSettings, Model
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import LoadRequest, Request, Sampling
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.machine.readings import Sampler
from speed_benchmark.models.source import Fetched, fetch
from speed_benchmark.run.environment import worker_environment
from speed_benchmark.worker.pipe import Pipe, Pulse
from speed_benchmark.worker.prompts import make_prompts
from speed_benchmark.worker.request import measure_request, no_times

LEAST_RATIO = 0.99


def bare_transformers(running: Any, request: Request) -> float:
    """Seconds of a plain `generate()`."""
    running.prepare(request)
    running.clock.synchronize()
    start = time.perf_counter()
    ids = running._model.generate(**running._arguments)
    running.clock.synchronize()
    seconds = time.perf_counter() - start
    assert ids.shape[1] == request.context_length + request.generate_length
    return seconds


def bare_vllm(running: Any, request: Request) -> float:
    """Seconds of a plain `LLM.generate`."""
    from vllm.sampling_params import RequestOutputKind

    running.prepare(request)
    params = running._params.clone()
    params.output_kind = RequestOutputKind.FINAL_ONLY
    prompts = [{"prompt_token_ids": list(ids)} for ids in request.prompts]
    start = time.perf_counter()
    (output,) = running._llm.generate(prompts, params, use_tqdm=False)
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
    fetched = fetch(Model(model_id_or_path=asked.model, weights="synthetic"), lambda *_: None)
    with registry.find(asked.engine).engine().open(load_request(asked, fetched)) as running:
        ratios = measure(asked, running, request(asked, fetched))
        print(
            f"{asked.engine} {asked.model} {running.loaded.execution} on {', '.join(running.loaded.devices)}: ", end=""
        )
    print(f"{asked.context} in, {asked.generate} out, {2 * asked.rounds} requests each")
    return judge(np.array(ratios))


def load_request(asked: argparse.Namespace, fetched: Fetched) -> LoadRequest:
    """What to load, with room for the request."""
    total = asked.context + asked.generate
    given: dict[str, Any] = {"max_model_len": max(1024, total)} if asked.engine == "vllm" else {}
    given |= {"compile": True} if asked.compile else {}
    options = registry.find(asked.engine)(**given).stored()
    settings = EngineSettings(engine=asked.engine, gpu_count=int(asked.gpu), options=options)
    return LoadRequest(checkpoint_dir=str(fetched.folder), settings=settings, max_total_tokens=total)


def request(asked: argparse.Namespace, fetched: Fetched) -> Request:
    """The request of both."""
    _, prompts = make_prompts(fetched.folder, asked.context, fetched.config["vocab_size"], seed=0, count=1)
    sampling = Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1)
    return Request(prompts=prompts, generate_length=asked.generate, sampling=sampling, seed=0)


def measure(asked: argparse.Namespace, running: Any, request: Request) -> list[float]:
    """The ratio of each round, printed as it comes."""
    gpus = (0,) if asked.gpu else ()
    memory, sampler = MemoryReader(gpus), Sampler(gpus, worker_environment(gpus))
    nobody = os.open(os.devnull, os.O_RDWR)
    pipe = Pipe(nobody, nobody)

    def project() -> float:
        times = no_times(request)
        with Pulse(pipe, times):
            return measure_request(running, request, memory, times).duration_s

    def bare() -> float:
        sampler._process.send_signal(signal.SIGSTOP)
        try:
            return BARE[asked.engine](running, request)
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
    return ratios


def judge(ratios: NDArray[np.float64]) -> int:
    """Print what the rounds say together; the exit status."""
    ratio, low, high = median_with_interval(ratios)
    quartiles = " to ".join(f"{value:.4f}" for value in np.percentile(ratios, [25, 75]))
    print(f"tokens/s, project / bare: median {ratio:.4f}, 95 % between {low:.4f} and {high:.4f}; quartiles {quartiles}")
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
