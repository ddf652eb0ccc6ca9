"""`vllm serve` on a local port, and a client of this process that streams one completion after the other from it."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException

from benchmarks.arms.task import Task, answers, read_task, serve

PATIENCE_S, ENDING_S = 600.0, 20.0


def main() -> None:
    """Start the server, wait until it is healthy, warm up, answer; the server ends with this process."""
    task, answer = read_task(), answers()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with server(task, port):
        serve(lambda: complete(task, port), task, answer)


@contextmanager
def server(task: Task, port: int) -> Iterator[None]:
    """A healthy `vllm serve`."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", task.folder, "--served-model-name", "model"),
            *("--host", "127.0.0.1", "--port", str(port), "--no-enable-prefix-caching"),
            *("--max-model-len", str(max(1024, task.total_tokens))),
            *("--gpu-memory-utilization", str(task.memory_share)),
        ],
        stdin=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + PATIENCE_S
        while not is_healthy(port):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit("vllm serve does not get healthy")
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDING_S)
        process.kill()


def is_healthy(port: int) -> bool:
    """Whether the server answers that it is."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def complete(task: Task, port: int) -> int:
    """Stream one completion to its end; how many tokens came, as the server counts them."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    asked = {
        "model": "model",
        "prompt": list(task.prompt),
        "max_tokens": task.generate_length,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        **task.sampling,
    }
    connection.request("POST", "/v1/completions", json.dumps(asked), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"vllm serve answers {response.status}: {response.read()[:300]!r}")
    tokens = 0
    for line in response:
        if line.startswith(b"data: {"):
            usage = json.loads(line.removeprefix(b"data: ")).get("usage")
            tokens = usage["completion_tokens"] if usage else tokens
    connection.close()
    return tokens


if __name__ == "__main__":
    main()
