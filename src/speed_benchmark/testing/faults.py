"""What can go wrong in an engine, done on purpose by the fake engine's script."""

import os
import signal
import subprocess
import sys
import time
from typing import Literal

from speed_benchmark.engines.protocol import OutOfMemoryError, UnsupportedError
from speed_benchmark.record.base import Frozen
from speed_benchmark.record.sample import Sample, Sequence
from speed_benchmark.worker import events

Action = Literal[
    "sigkill", "sigsegv", "sigabrt", "sigstop", "exit_3", "exit_0", "system_exit", "hang", "hang_grandchild",
    "hang_in_daemon", "leave_daemon", "oom", "torch_oom", "memory_error", "eat_memory", "unsupported", "error",
    "interrupt", "fewer_tokens", "more_tokens", "no_tokens", "early_end", "backward_times", "cached_prompt",
    "garbage", "half_line", "unknown_event", "wrong_cell", "close_pipe", "twice", "sample_twice", "much_output",
]  # fmt: skip

At = Literal["load", "prepare", "generate", "close"]

_SLEEP = [sys.executable, "-c", "import time; time.sleep(3600)"]


class Fault(Frozen):
    """`action` happens at the moment named by `at`; for generate in the `request`-th one, counted from 0."""

    at: At
    action: Action
    request: int = 0


def do(action: Action) -> None:
    """Let `action` happen here; those about tokens and times are the engine's own business."""
    match action:
        case "sigkill" | "sigsegv" | "sigabrt" | "sigstop":
            os.kill(os.getpid(), signal.Signals[action.upper()])
        case "exit_3" | "exit_0":
            os._exit(3 if action == "exit_3" else 0)
        case "system_exit":
            sys.exit(0)
        case "interrupt":
            raise KeyboardInterrupt
        case "hang":
            time.sleep(3600)
        case "hang_grandchild":
            subprocess.run(_SLEEP, check=False)  # noqa: S603 - our own interpreter
        case "hang_in_daemon":
            subprocess.run(_SLEEP, start_new_session=True, check=False)  # noqa: S603
        case "leave_daemon":
            subprocess.Popen(_SLEEP, start_new_session=True)  # noqa: S603
        case "oom":
            raise OutOfMemoryError("the fake device is full")
        case "torch_oom":
            import torch

            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        case "memory_error":
            bytearray(1 << 60)
        case "eat_memory":
            eaten = []
            while True:
                eaten.append(b"\1" * (1 << 24))
        case "unsupported":
            raise UnsupportedError("the fake engine does not support this")
        case "error":
            raise RuntimeError("the fake engine failed")
        case "much_output":
            os.write(1, b"".join(b"line %d of much output\n" % number for number in range(100_000)))
        case _:
            _talk(action)


def _talk(action: Action) -> None:
    """Write to the worker's private pipe, its first argument, as a library gone wrong could."""
    pipe = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdecimal() else -1
    sequence = Sequence(token_times_s=(1.0,), prompt_tokens=1, output_tokens=1, output_digest="sha256:0")
    sample = Sample(started_at_unix_s=0.0, duration_s=1.0, sequences=(sequence,))
    said = {
        "garbage": b"garbage\n",
        "half_line": b'{"type":"sampled","cell":0,"warmup":false,"sam',
        "unknown_event": b'{"type":"rumour","cell":0}\n',
        "wrong_cell": b'{"type":"cell_done","cell":7}\n',
        "twice": b'{"type":"cell_done","cell":0}\n',
        "sample_twice": events.Sampled(cell=0, warmup=False, sample=sample).model_dump_json().encode() + b"\n",
    }
    if action in said:
        os.write(pipe, said[action])
    if action == "half_line":
        os._exit(0)
    if action == "close_pipe":
        os.close(pipe)
