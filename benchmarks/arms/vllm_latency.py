"""`vllm bench latency`, by its own command line; its bar of progress is where it waits and where its time is taken."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import vllm.benchmarks.latency
from vllm.entrypoints.cli.main import main as vllm_command_line

from benchmarks.arms.task import WARM_UPS, answers, read_task, wait_for_go


def main() -> None:
    """Run the command, an iteration for each line on standard input."""
    task, answer = read_task(), answers()

    def bar(iterations: Iterable[Any], desc: str) -> Iterator[Any]:
        if desc.startswith("Warmup"):
            yield from iterations
            return
        answer({})
        for iteration in iterations:
            if not wait_for_go():
                return
            start = time.perf_counter()
            yield iteration
            answer({"seconds": time.perf_counter() - start})

    vllm.benchmarks.latency.tqdm = bar
    sys.argv = [
        *("vllm", "bench", "latency", "--model", task.folder, "--batch-size", "1"),
        *("--input-len", str(len(task.prompt)), "--output-len", str(task.generate_length)),
        *("--num-iters-warmup", str(WARM_UPS), "--num-iters", str(task.requests)),
        *("--max-model-len", str(max(1024, task.total_tokens))),
        *("--gpu-memory-utilization", str(task.memory_share)),
    ]
    vllm_command_line()


if __name__ == "__main__":
    main()
