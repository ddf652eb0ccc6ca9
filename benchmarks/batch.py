"""The project's aggregate speed of a batch beside a bare loop over the engine's own interface.

For each batch size a process of its own loads the model and answers the same batch four times a round, in the order
ABBA or BAAB: through the project's measured call, and through a plain call of the engine written here (transformers:
`model.generate` on a tensor of prompts; vLLM: `LLM.generate` on a list of them), with two readings of the clock around
it. Prints each round, and for each batch size the median over the rounds of the ratio of generated tokens/s of all
sequences (project / bare) with its quartiles and extremes. Exits 1 where a median is below 0.97.

usage: batch.py ENGINE [--model ID] [--batch N ...] [--context N] [--generate N] [--rounds N] [--gpu]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from speed_benchmark.cell import EngineSettings, Model
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import LoadRequest, Request, Running, Sampling
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.models.config import text_config
from speed_benchmark.models.source import Fetched, fetch
from speed_benchmark.run.environment import worker_environment
from speed_benchmark.worker.pipe import Pipe, Pulse
from speed_benchmark.worker.prompts import make_prompts
from speed_benchmark.worker.request import measure_request, no_times

LEAST_RATIO = 0.97
SAMPLING = Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1)

Bare = Callable[[], float]


def bare_transformers(model: Any, request: Request, wait: Callable[[], None]) -> Bare:
    """A plain `generate()` of the batch: its seconds."""
    import torch
    from transformers import GenerationConfig

    inputs = torch.tensor(request.prompts, device=model.device)
    asked = SAMPLING.model_dump()
    config = GenerationConfig(max_new_tokens=request.generate_length, do_sample=True, use_cache=True, **asked)

    def generate() -> float:
        wait()
        start = time.perf_counter()
        ids = model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config)
        wait()
        seconds = time.perf_counter() - start
        assert ids.shape == (len(inputs), request.context_length + request.generate_length)
        return seconds

    return generate


def bare_vllm(llm: Any, request: Request, wait: Callable[[], None]) -> Bare:
    """A plain `LLM.generate` of the batch: its seconds."""
    from vllm import SamplingParams

    asked = SAMPLING.model_dump()
    params = SamplingParams(max_tokens=request.generate_length, ignore_eos=True, detokenize=False, **asked)
    prompts = [{"prompt_token_ids": list(ids)} for ids in request.prompts]

    def generate() -> float:
        wait()
        start = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        wait()
        seconds = time.perf_counter() - start
        assert [len(output.outputs[0].token_ids) for output in outputs] == [request.generate_length] * len(prompts)
        return seconds

    return generate


def bare_call(engine: str, running: Any, request: Request) -> Bare:
    """The plain call of an engine whose model is loaded."""
    if engine == "vllm":
        return bare_vllm(running._llm, request, running.clock.synchronize)
    return bare_transformers(running._model, request, running.clock.synchronize)


def project_call(running: Running, request: Request, gpus: tuple[int, ...]) -> Bare:
    """The project's measured call: its seconds."""
    nobody = os.open(os.devnull, os.O_RDWR)
    memory, pipe = MemoryReader(gpus), Pipe(nobody, nobody)

    def measured() -> float:
        times = no_times(request)
        with Pulse(pipe, times):
            sample = measure_request(running, request, memory, times)
        assert [one.output_tokens for one in sample.sequences] == [request.generate_length] * len(request.prompts)
        return sample.duration_s

    return measured


def load_request(asked: argparse.Namespace, fetched: Fetched, batch_size: int) -> LoadRequest:
    """What to load, with room for the batch."""
    total = asked.context + asked.generate
    given: dict[str, Any] = {"max_model_len": max(1024, total)} if asked.engine == "vllm" else {}
    options = registry.find(asked.engine)(**given).stored()
    return LoadRequest(
        checkpoint_dir=str(fetched.folder),
        settings=EngineSettings(engine=asked.engine, gpu_count=int(asked.gpu), options=options),
        max_total_tokens=total,
        max_sequences=batch_size,
    )


def child(asked: argparse.Namespace) -> int:
    """Measure one batch size in this process, and print; the exit status."""
    (batch_size,) = asked.batch
    fetched = fetch(Model(model_id_or_path=asked.model, weights="synthetic"), lambda *_: None)
    _, prompts = make_prompts(
        fetched.folder, asked.context, text_config(fetched.config)["vocab_size"], seed=0, count=batch_size
    )
    request = Request(prompts=prompts, generate_length=asked.generate, sampling=SAMPLING, seed=0)
    with registry.find(asked.engine).engine().open(load_request(asked, fetched, batch_size)) as running:
        project = project_call(running, request, (0,) if asked.gpu else ())
        bare = bare_call(asked.engine, running, request)
        for warm_up in (project, bare, project, bare):
            warm_up()
        ratios = [round_of(number, batch_size * asked.generate, project, bare) for number in range(asked.rounds)]
        where = f"{running.loaded.execution} on {', '.join(running.loaded.devices)}"
    low, median, high = np.percentile(ratios, [25, 50, 75])
    print(f"{asked.engine} {asked.model} {where}: batch of {batch_size}, {asked.context} in, {asked.generate} out")
    short = "FAILED" if high < LEAST_RATIO else "UNDECIDED, within the spread"
    print(
        f"tokens/s of all sequences, project / bare: median {median:.4f}, quartiles {low:.4f} to {high:.4f}, "
        f"extremes {min(ratios):.4f} to {max(ratios):.4f}; {'ok' if median >= LEAST_RATIO else short}",
        flush=True,
    )
    return 0 if median >= LEAST_RATIO else 1


def round_of(number: int, tokens: int, project: Bare, bare: Bare) -> float:
    """The ratio of one round."""
    seconds: dict[str, list[float]] = {"project": [], "bare": []}
    a, b = [("project", project), ("bare", bare)][:: 1 if number % 2 else -1]
    for name, call in (a, b, b, a):
        seconds[name].append(call())
    speeds = {name: tokens / statistics.fmean(values) for name, values in seconds.items()}
    ratio = speeds["project"] / speeds["bare"]
    print(
        f"round {number + 1:2}: project {speeds['project']:9.2f} tokens/s, bare {speeds['bare']:9.2f}, "
        f"ratio {ratio:.4f}",
        flush=True,
    )
    return ratio


def main() -> int:
    """Measure each batch size in a child process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=("transformers", "vllm"))
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return child(asked)
    environment = os.environ | worker_environment((0,) if asked.gpu else ())
    statuses = [
        subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--child", "--batch", str(batch_size)],
            env=environment,
            check=False,
        ).returncode
        for batch_size in asked.batch
    ]
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main())
