"""What all arms are asked, and how they answer: a line on standard input, a line of JSON on standard output."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WARM_UPS = 2
Answer = dict[str, float]


@dataclass(frozen=True)
class Task:
    """The request of both arms: a prompt as token ids, how many tokens to generate, and how to choose them.

    `folder` is the checkpoint, `memory_share` what a vLLM takes of a GPU, `engine` and `options` the tool's settings.
    """

    folder: str
    prompt: tuple[int, ...]
    generate_length: int
    sampling: dict[str, Any]
    seed: int
    gpu: int | None
    compile: bool
    memory_share: float
    requests: int
    engine: str
    options: dict[str, Any]

    @property
    def total_tokens(self) -> int:
        """Prompt and output together."""
        return len(self.prompt) + self.generate_length

    def write(self, file: Path) -> None:
        """Keep it as JSON, for `read_task` of another process."""
        file.write_text(json.dumps(asdict(self)))


def read_task() -> Task:
    """The task in the file that is named on the command line."""
    return Task(**json.loads(Path(sys.argv[1]).read_text()))


def answers() -> Callable[[Answer], None]:
    """A way to answer that nothing else writes to: from now on standard output is standard error."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(said: Answer) -> None:
        channel.write(json.dumps(said) + "\n")
        channel.flush()

    return answer


def wait_for_go() -> bool:
    """Whether one more request is asked for; not where whoever asks has ended."""
    return bool(sys.stdin.readline())


def serve(request: Callable[[], int], task: Task, answer: Callable[[Answer], None]) -> None:
    """Warm up, say so, then for each line on standard input make one `request` and say its seconds."""
    for _ in range(WARM_UPS):
        request()
    answer({})
    while wait_for_go():
        start = time.perf_counter()
        tokens = request()
        seconds = time.perf_counter() - start
        if tokens != task.generate_length:
            sys.exit(f"{tokens} tokens came, {task.generate_length} were asked for")
        answer({"seconds": seconds})
