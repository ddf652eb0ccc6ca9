"""The tool's figure beside that of a separate program which makes the engine's plain call, alternating on one host.

Both are loaded once, in processes of their own; each round asks them for the same request in the order ABBA or BAAB, so
that what drifts hits both alike, while the other one waits. The tool's program is its own worker, with its parent,
its pulse and its sampler. Against which program (`benchmarks/arms`):

    default   vLLM: `LLM.generate` as it comes, its core in a process of its own
    inproc    vLLM: the same with its core in the caller's process; the tool then runs with --engine_core inproc
    latency   vLLM: its command line `vllm bench latency`, which has a sampling of its own: the tool gets that too
    serve     vLLM: its command line `vllm serve`, asked by a streaming client, one request at a time
    plain     transformers: `generate()` with an end of sequence to look for; --compile: with its static cache

Prints the ratio of tokens/s (tool / plain) of each round, then their mean (of the logarithms) with its 95 % interval
by Student's t, how far two requests of the plain program in one round differ, what the tool's observer took of a core,
and what the waiting program did. --out adds them to a file, a line of JSON each. Exits 0 where the interval is inside
0.97 to 1.03, 1 where it is outside, 3 where the host is too unsteady to say, 2 where a program fails.

Where the checkpoint has no tokenizer (made-up weights have none), the plain vLLM gets a made-up one: it turns tokens
into text, as it does for its users. On a GPU both hold --memory_share of its memory.

usage: python -m benchmarks.fidelity --engine vllm|transformers [--against ARM] [--model ID|FOLDER] [--context N]
           [--generate N] [--rounds N] [--greedy] [--gpu N] [--compile] [--memory_share X] [--out FILE]
"""

import argparse
import json
import math
import os
import platform
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.arms.task import Answer, Task
from speed_benchmark.cell import Model
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import Sampling
from speed_benchmark.judge.statistics import student_half_width
from speed_benchmark.models.config import text_config
from speed_benchmark.models.sampling import read_sampling
from speed_benchmark.models.source import Fetched, fetch
from speed_benchmark.worker import orphans
from speed_benchmark.worker.prompts import make_prompts

LOWEST, HIGHEST = 0.97, 1.03
PLAIN = {
    "vllm": {"default": "vllm_generate", "inproc": "vllm_generate", "latency": "vllm_latency", "serve": "vllm_serve"},
    "transformers": {"plain": "transformers_generate"},
}
# What `vllm bench latency` samples by.
LATENCY_SAMPLING = {"do_sample": True, "temperature": 1.0, "top_p": 1.0}
LOAD_S, REQUEST_S, ENDING_S = 1200.0, 1200.0, 30.0
# Threads spin after their last work before they sleep: those of OpenMP for up to a fifth of a second, the workers of
# vLLM for one second (`SpinCondition`).
SETTLED_S = 1.5
SEED = 1024
ROOT = Path(__file__).resolve().parent.parent


class Arm:
    """A program of `benchmarks/arms`."""

    def __init__(self, program: str, task: Task, folder: Path, environment: Mapping[str, str]) -> None:
        self._mark, self._log = orphans.new_mark(), folder / f"{program}.log"
        task_file = folder / f"{program}.json"
        task.write(task_file)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.arms.{program}", str(task_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            start_new_session=True,
            cwd=ROOT,
            env={**environment, orphans.VARIABLE: self._mark},
        )
        self.about: Answer = {}
        self.said: list[Answer] = []

    def load(self) -> None:
        """Return once it has loaded and warmed up, and waits to be asked."""
        self.about = self._answer(LOAD_S)

    def end(self) -> None:
        """It ends by itself where its input does; what is left of it then is killed."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_S)
        self._process.kill()
        self._process.wait()
        orphans.end(self._mark)

    def ask(self) -> float:
        """The seconds of one more request."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: no answer comes
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        self.said.append(self._answer(REQUEST_S))
        return self.said[-1]["seconds"]

    def cpu_s(self) -> float:
        """Processor time that all its processes have used."""
        process = psutil.Process(self._process.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))

    def _answer(self, patience_s: float) -> Answer:
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline() if select.select([stdout], [], [], patience_s)[0] else b""
        if not line:
            print(
                f"a program ended or does not answer; its last lines:\n{self._log.read_text()[-3000:]}", file=sys.stderr
            )
            sys.exit(2)
        answer: Answer = json.loads(line)
        return answer


def main() -> int:
    """Measure, print, judge."""
    asked = arguments()
    fetched = fetch(weights(asked.model), lambda *_: None)
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="fidelity_")))
        task, plain_task = tasks(asked, fetched, folder)
        program = PLAIN[asked.engine][asked.against]
        tool = started(Arm("tool", task, folder, dict(os.environ)), ends)
        plain = started(Arm(program, plain_task, folder, plain_environment(asked, folder)), ends)
        rounds = [measure_round(number, tool, plain, asked) for number in range(asked.rounds)]
    return judge(asked, rounds, tool)


def started(arm: Arm, ends: ExitStack) -> Arm:
    """The arm, loaded: one after the other, for an engine measures how much memory is free."""
    ends.callback(arm.end)
    arm.load()
    return arm


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=PLAIN, required=True)
    parser.add_argument("--against", help="the plain program; one of those above")
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--memory_share", type=float, default=0.4)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--gpu", type=int, help="its number, by PCI bus; none: the CPU")
    for switch in ("--greedy", "--compile"):
        parser.add_argument(switch, action="store_true")
    asked = parser.parse_args()
    asked.against = asked.against or next(iter(PLAIN[asked.engine]))
    if asked.against not in PLAIN[asked.engine]:
        parser.error(f"--against: {asked.engine} has {', '.join(PLAIN[asked.engine])}")
    if asked.against == "latency" and asked.greedy:
        parser.error("--greedy: vllm bench latency samples at a temperature of 1")
    if asked.compile and asked.engine != "transformers":
        parser.error("--compile is for transformers")
    if asked.rounds < 2:
        parser.error("--rounds: at least 2")
    return asked


def weights(model: str) -> Model:
    """A folder with weights as it is; else made-up weights of the shape."""
    real = Path(model).is_dir() and any(Path(model).glob("*.safetensors"))
    return Model(model_id_or_path=model, weights="hub" if real else "synthetic")


def tasks(asked: argparse.Namespace, fetched: Fetched, folder: Path) -> tuple[Task, Task]:
    """What the tool and what the plain program is asked: the same, of folders with the same weights."""
    own = fetched.folder
    if asked.against == "latency":
        own = linked(own, folder / "tool", {"generation_config.json": json.dumps(LATENCY_SAMPLING)})
    vocabulary = text_config(fetched.config)["vocab_size"]
    _, (prompt,) = make_prompts(own, asked.context, vocabulary, SEED, count=1)
    options: dict[str, Any] = {"compile": True} if asked.compile else {}
    if asked.engine == "vllm":
        options = {
            "max_model_len": max(1024, asked.context + asked.generate),
            "gpu_memory_utilization": asked.memory_share,
            "engine_core": "inproc" if asked.against == "inproc" else "process",
        }
    task = Task(
        folder=str(own),
        prompt=prompt,
        generate_length=asked.generate,
        sampling=(Sampling() if asked.greedy else read_sampling(own)).model_dump(),
        seed=SEED,
        gpu=asked.gpu,
        compile=asked.compile,
        memory_share=asked.memory_share,
        requests=2 * asked.rounds,
        engine=asked.engine,
        options=registry.find(asked.engine)(**options).stored(),
    )
    if asked.engine == "vllm" and not (own / "tokenizer.json").exists():
        return task, replace(task, folder=str(linked(own, folder / "plain", made_up_tokenizer(vocabulary))))
    return task, task


def linked(checkpoint: Path, folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with the files of `checkpoint`, and these `files` in place of its own."""
    folder.mkdir()
    for file in checkpoint.iterdir():
        if file.name not in files:
            (folder / file.name).symlink_to(file)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def made_up_tokenizer(vocabulary: int) -> dict[str, str]:
    """The files of a tokenizer with a word for each id, put together again as those of byte-level BPE are."""
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel({f"Ġw{number}": number for number in range(vocabulary)}, unk_token="Ġw0"))  # noqa: S106 - no password
    tokenizer.decoder = decoders.ByteLevel()
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": f"Ġw{vocabulary - 1}"}
    return {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": json.dumps(config)}


def plain_environment(asked: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The user's own environment, and what the plain program needs beside it."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    if asked.gpu is not None:
        environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(asked.gpu)}
    if asked.engine != "vllm":
        return environment
    environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = str(int(asked.against != "inproc"))
    if asked.gpu is None:  # or it takes a share of all memory for its cache
        environment["VLLM_CPU_KVCACHE_SPACE"] = "1"
    with suppress(PackageNotFoundError):
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(named_vllm(folder, version("vllm-cpu"))), os.environ.get("PYTHONPATH")])
        )
    return environment


def named_vllm(folder: Path, number: str) -> Path:
    """A folder in which the distribution vllm-cpu has the name by which vLLM's command line asks for its version."""
    info = folder / "named" / f"vllm-{number}+cpu.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {number}+cpu\n")
    return info.parent


def measure_round(number: int, tool: Arm, plain: Arm, asked: argparse.Namespace) -> dict[str, Any]:
    """Two requests of each, the ratio of their tokens/s, and how busy the one that waits is; printed and kept."""
    seconds: dict[str, list[float]] = {"tool": [], "plain": []}
    waited_s, waited_cpu_s = {"tool": 0.0, "plain": 0.0}, {"tool": 0.0, "plain": 0.0}
    order = ("tool", "plain", "plain", "tool") if number % 2 == 0 else ("plain", "tool", "tool", "plain")
    for name in order:
        arm, other, waiting = (tool, plain, "plain") if name == "tool" else (plain, tool, "tool")
        time.sleep(SETTLED_S)
        start, before_s = time.perf_counter(), other.cpu_s()
        seconds[name].append(arm.ask())
        waited_cpu_s[waiting] += other.cpu_s() - before_s
        waited_s[waiting] += time.perf_counter() - start
    speeds = {name: asked.generate / statistics.fmean(values) for name, values in seconds.items()}
    found = {
        "round": number + 1,
        **seconds,
        "ratio": speeds["tool"] / speeds["plain"],
        "waiting_cores": {name: waited_cpu_s[name] / waited_s[name] for name in waited_s},
    }
    print(
        f"round {number + 1:2}: tool {speeds['tool']:8.2f} tokens/s, plain {speeds['plain']:8.2f}, "
        f"ratio {found['ratio']:.4f}",
        flush=True,
    )
    keep(asked, found)
    return found


def judge(asked: argparse.Namespace, rounds: list[dict[str, Any]], tool: Arm) -> int:
    """Print what the rounds say together; the exit status."""
    logs = [math.log(one["ratio"]) for one in rounds]
    mean, half = statistics.fmean(logs), float(student_half_width(logs, 0.95))
    ratio, low, high = math.exp(mean), math.exp(mean - half), math.exp(mean + half)
    spread = statistics.median(abs(math.log(one["plain"][0] / one["plain"][1])) for one in rounds)
    inside, outside = low >= LOWEST and high <= HIGHEST, high < LOWEST or low > HIGHEST
    status = 0 if inside else 1 if outside else 3
    print(f"{described(asked)}: tool / plain {ratio:.4f}, 95 % between {low:.4f} and {high:.4f} ({len(rounds)} rounds)")
    if status == 3:
        print(f"unsettled: the host's own spread is {spread:.1%} (two plain requests of one round, median)")
    else:
        print(f"{'inside' if inside else 'OUTSIDE'} {LOWEST} to {HIGHEST}")
    observer = observer_cores(tool)
    shares = ", ".join(f"{part} {share:.2%}" for part, share in observer.items())
    waiting = {name: statistics.fmean(one["waiting_cores"][name] for one in rounds) for name in ("tool", "plain")}
    shown = ", ".join(f"{name} {share:.2%}" for name, share in waiting.items())
    print(f"the tool's observer took of one core: {shares}; the program that waited: {shown}")
    found = {
        "asked": {name: value for name, value in vars(asked).items() if name != "out"},
        "ratio": ratio,
        "low": low,
        "high": high,
        "status": status,
        "host_spread": spread,
        "observer_cores": observer,
        "waiting_cores": waiting,
        **{
            f"{name}_tokens_per_s": asked.generate / statistics.fmean(value for one in rounds for value in one[name])
            for name in ("tool", "plain")
        },
        "versions": versions(),
        "cores": os.cpu_count(),
        "gpu": None if asked.gpu is None else gpu_name(asked.gpu),
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    keep(asked, found)
    return status


def described(asked: argparse.Namespace) -> str:
    """What was measured against what, and where."""
    sampling = "the model's sampling"
    if asked.greedy or asked.against == "latency":
        sampling = "greedy" if asked.greedy else "at a temperature of 1"
    compiled, device = " compiled" if asked.compile else "", "CPU" if asked.gpu is None else "GPU"
    lengths = f"{asked.context} in, {asked.generate} out"
    return f"{asked.engine} against {asked.against}{compiled}, {asked.model}, {lengths}, {sampling}, {device}"


def observer_cores(tool: Arm) -> dict[str, float]:
    """What each part of the tool that only watches took of one core, on average over its requests."""
    watched_s = sum(one["watched_s"] for one in tool.said)
    shares = {part: sum(one[f"{part}_s"] for one in tool.said) / watched_s for part in ("parent", "sampler")}
    return shares | {"pulse": tool.about["pulse_share"]}


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    found = {"python": platform.python_version()}
    for package in ("speed-benchmark", "torch", "transformers", "vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def gpu_name(gpu: int) -> str:
    """The GPU of that number."""
    from speed_benchmark.machine.describe import describe

    return describe((gpu,)).gpus[0].name


def keep(asked: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """Add a line to the file that was asked for."""
    if asked.out:
        with asked.out.open("a") as file:
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    sys.exit(main())
