"""Does the verdict tell a disturbed run from a quiet one?

One loaded model answers many cells, each with its own repeats; while half of them run, in random order, another
process competes: for the processor, for the GPU, or for memory. Prints each record as it comes, then how many of the
quiet and of the disturbed ones were flagged, that is, are not `valid`. Exits 1 where fewer than 95 % of the disturbed
or more than 5 % of the quiet ones are. The machine must do nothing else. On a CPU of few cores set OMP_NUM_THREADS to
one less than these: OpenMP's threads wait for each other, and for a whole time slice where a competitor sits on a core.
Without --model, a GPU runs Qwen2.5-0.5B and a CPU a model that its cache holds: a virtual machine's neighbours take
of the memory's bandwidth, which no counter of ours shows, and a run that they disturb is no quiet one. Where more quiet
runs are flagged on a CPU, a bare loop is judged like them: if it is flagged as well, the machine was not quiet. How
often the rules flag what chance alone does to steady repeats is simulated in tests/judge/test_coverage.py.

usage: disturb.py [--engine transformers|vllm] [--model ID_OR_PATH] [--context N] [--generate N] [--runs N] [--gpu]
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speed_benchmark.cell import Cell, Model, Protocol, Workload
from speed_benchmark.judge.judge import judged
from speed_benchmark.judge.judgement import Judged, Severity, Verdict
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample
from speed_benchmark.record.store import Store
from speed_benchmark.run.interrupt import Interrupt
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.observer import NullObserver
from speed_benchmark.run.plan import LoadGroup, for_engine
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.sweep import run_sweep
from speed_benchmark.worker import events

# Each imports what it needs, says who it is, waits for a line, says that it has begun, and goes on until it is killed.
START = "import os, sys\nprint(os.getpid(), flush=True)\nsys.stdin.readline()\n"
PROCESSOR = START + "print(flush=True)\nwhile True: pass"
# Twice the growth that the rule about the host's memory asks for.
HOST_MEMORY = (
    "import psutil\n" + START + "size = int(0.2 * psutil.virtual_memory().available)\nprint(flush=True)\n"
    "while True:\n    taken = bytearray(size)\n    taken[::4096] = bytes(len(taken[::4096]))\n    del taken"
)
GPU = (
    "import torch\n" + START + "side = torch.randn(8192, 8192, device='cuda', dtype=torch.bfloat16)\n"
    "side @ side\ntorch.cuda.synchronize()\nprint(flush=True)\n"
    "while True:\n    side @ side\n    torch.cuda.synchronize()"
)
GPU_MEMORY = (
    "import time, torch\n" + START + "taken = torch.ones(2**32, dtype=torch.uint8, device='cuda')\n"
    "torch.cuda.synchronize()\nprint(flush=True)\ntime.sleep(1e9)"
)
# 17 MB of bfloat16.
SMALL_MODEL = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": 256,
    "intermediate_size": 1024,
    "max_position_embeddings": 32768,
    "num_attention_heads": 4,
    "num_hidden_layers": 8,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 2048,
}
# What a process had is given back after its end, gigabytes of memory over a second or two.
SETTLE_S = 3.0
FLAGGED_DISTURBED, FLAGGED_QUIET = 0.95, 0.05


class Disturber:
    """A process that stands ready, and competes from `begin` to `end`; no child of this one, for those are ours."""

    def __init__(self, program: str) -> None:
        launcher = subprocess.Popen(
            ["setsid", "--fork", sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        launcher.wait()
        assert launcher.stdin and launcher.stdout  # noqa: PT018
        self._stdin, self._stdout = launcher.stdin, launcher.stdout
        self._pid = int(self._stdout.readline())

    def begin(self) -> None:
        """Return once it competes."""
        self._stdin.write(b"\n")
        self._stdin.flush()
        assert self._stdout.readline(), "the disturbing process has ended"

    def end(self) -> None:
        """Return once it is gone: with it goes the other end of its output."""
        os.kill(self._pid, signal.SIGKILL)
        self._stdout.read()
        self._stdin.close()
        self._stdout.close()


class Director(NullObserver):
    """Begins and ends the disturbance of each cell, as the sweep comes to it."""

    def __init__(self, kinds: dict[str, str]) -> None:
        self.kinds = kinds
        self.flagged: dict[str, list[bool]] = {}
        self.codes: dict[str, Counter[str]] = {}
        self.undisturbed: Record | None = None
        self._disturbers: dict[str, Disturber] = {}

    @contextmanager
    def ready(self, programs: dict[str, str]) -> Iterator[None]:
        """All disturbers stand ready: to start one costs more than it disturbs."""
        self._disturbers = {cell: Disturber(programs[kind]) for cell, kind in self.kinds.items() if kind != "quiet"}
        try:
            yield
        finally:
            for disturber in self._disturbers.values():
                disturber.end()

    def happened(self, cell: Cell, event: events.Event) -> None:
        """Begin before the warm-up."""
        if isinstance(event, events.Stage) and event.name == "prepare" and cell.cell_id in self._disturbers:
            self._disturbers[cell.cell_id].begin()

    def stored(self, judged: Judged, path: Path) -> None:
        """End once the cell is done, and say what came of it."""
        del path
        cell_id = judged.record.cell_id
        disturber, kind = self._disturbers.pop(cell_id, None), self.kinds[cell_id]
        if disturber:
            disturber.end()
            time.sleep(SETTLE_S)
        self.count(kind, judged)

    def count(self, kind: str, judged: Judged) -> None:
        """Print what is said of a record, and remember it."""
        record, judgement = judged.record, judged.judgement
        flagged = record.outcome is not Outcome.OK or judgement.verdict is not Verdict.VALID
        if kind == "quiet" and not flagged:
            self.undisturbed = record
        codes = [finding.code for finding in judgement.findings if finding.severity is not Severity.NOTE]
        self.flagged.setdefault(kind, []).append(flagged)
        self.codes.setdefault(kind, Counter()).update(set(codes) or {"none"})
        speed = judgement.summary.generation_tokens_per_s.mean if judgement.summary else 0.0
        print(f"{kind:11} {speed:9.2f} tokens/s  {record.outcome} {judgement.verdict} {' '.join(codes)}", flush=True)


def bare_loops(record: Record, runs: int) -> Iterator[Judged]:
    """`record` as it would be judged, `runs` times, had each of its repeats taken as long as a loop of additions.

    The loop needs no memory and no program of ours: what makes it slower at times is the machine.
    """
    wanted_s, additions = record.samples[0].duration_s, 1_000_000
    additions = round(additions * wanted_s / min(_loop_s(additions) for _ in range(20)))
    for _ in range(runs):
        samples = tuple(_stretched(sample, additions) for sample in record.samples)
        yield judged(record.model_copy(update={"samples": samples}))


def _loop_s(additions: int) -> float:
    start_s, total = time.perf_counter(), 0
    for number in range(additions):
        total += number
    return time.perf_counter() - start_s


def _stretched(sample: Sample, additions: int) -> Sample:
    """`sample` as if it had taken as long as the loop; without the moment of its start, which was another one."""
    taken_s = _loop_s(additions)
    sequences = tuple(
        one.model_copy(
            update={"token_times_s": tuple(time_s * taken_s / sample.duration_s for time_s in one.token_times_s)}
        )
        for one in sample.sequences
    )
    return sample.model_copy(update={"duration_s": taken_s, "sequences": sequences, "started_at_s": None})


def small_model(folder: Path) -> str:
    """A checkpoint in `folder` without weights, which are made up."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL_MODEL))
    return str(folder)


def measure(asked: argparse.Namespace, kinds: Sequence[str], programs: dict[str, str], folder: Path) -> Director:
    """Measure one cell for each of `kinds`, all with one load, and keep their records in `folder`."""
    model = asked.model or ("Qwen/Qwen2.5-0.5B-Instruct" if asked.gpu else small_model(folder / "small"))
    given: dict[str, Any] = {"max_model_len": asked.context + asked.generate} if asked.engine == "vllm" else {}
    settings = for_engine(asked.engine, given, gpu_count=int(asked.gpu))
    cells = [
        Cell(
            model=Model(model_id_or_path=model, weights="synthetic"),
            workload=Workload(
                context_length=asked.context, generate_length=asked.generate, sampling="greedy", seed=number
            ),
            settings=settings,
            protocol=Protocol(repeats=asked.repeats, warmups=asked.warmups),
        )
        for number in range(len(kinds))
    ]
    director = Director({cell.cell_id: kind for cell, kind in zip(cells, kinds, strict=True)})
    group = LoadGroup(tuple(cells), (0,) if asked.gpu else ())
    with director.ready(programs), Interrupt() as interrupt:
        run_sweep([group], Store(folder), Policy(), Limits(no_profile=True), director, interrupt)
    return director


def share(flagged: Sequence[bool]) -> float:
    """Which part of them is flagged; 0 of none."""
    return sum(flagged) / max(1, len(flagged))


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--model")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--generate", type=int, default=512)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--warmups", type=int, default=2)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()

    programs = {"processor": PROCESSOR, "memory": HOST_MEMORY}
    if asked.gpu:
        programs |= {"gpu": GPU, "gpu memory": GPU_MEMORY}
    kinds = ["quiet"] * asked.runs + [list(programs)[number % len(programs)] for number in range(asked.runs)]
    random.Random(asked.seed).shuffle(kinds)  # noqa: S311 - an order, no secret
    with tempfile.TemporaryDirectory() as folder:
        director = measure(asked, kinds, programs, Path(folder))
    quiet = director.flagged.get("quiet", [])
    if share(quiet) > FLAGGED_QUIET and not asked.gpu and director.undisturbed:
        for loop in bare_loops(director.undisturbed, asked.runs):
            director.count("bare loop", loop)
    for kind, flagged in sorted(director.flagged.items()):
        codes = ", ".join(f"{code} {count}" for code, count in director.codes[kind].most_common())
        print(f"{kind:11} flagged {sum(flagged)} of {len(flagged)}: {codes}")
    if share(director.flagged.get("bare loop", [])) > FLAGGED_QUIET:
        print("the machine was not quiet, for a bare loop is flagged too: this says nothing about quiet runs")
    disturbed = [flag for kind in programs for flag in director.flagged.get(kind, [])]
    print(f"disturbed   flagged {share(disturbed):.1%} of {len(disturbed)}")
    print(f"quiet       flagged {share(quiet):.1%} of {len(quiet)}")
    all_there = len(disturbed) == len(quiet) == asked.runs
    return 0 if all_there and share(disturbed) >= FLAGGED_DISTURBED and share(quiet) <= FLAGGED_QUIET else 1


if __name__ == "__main__":
    sys.exit(main())
