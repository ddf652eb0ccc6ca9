"""A worker process: started on a private pipe, watched against time limits, ended with its whole group."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from speed_benchmark import events
from speed_benchmark.limits import Limits
from speed_benchmark.results.record import Cause, Outcome

# What a worker may see of the environment: what locates programs, libraries, caches and devices, and no secrets.
_PASSED = {
    *("CC", "CXX", "HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
    "VIRTUAL_ENV",
}
_PASSED_PREFIXES = (
    *("CUDA", "GOMP_", "KMP_", "LC_", "MKL_", "NCCL_", "NUMEXPR_", "NVIDIA_", "NVSHMEM_", "OMP_", "OPENBLAS_"),
    *("PYTHON", "PYTORCH_", "TORCH", "TRITON_", "VLLM_", "XDG_"),
)
_LOG_LINES = 50
_POLL_S = 0.1


class WorkerEndedError(Exception):
    """The worker ended, or was ended, before it was done; carries the outcome and the cause."""

    def __init__(self, outcome: Outcome, cause: Cause) -> None:
        self.outcome = outcome
        self.cause = cause
        super().__init__(cause.message)


class Worker:
    """One child process in a session of its own, working on one job."""

    def __init__(self, job: events.Job, limits: Limits) -> None:
        self._limits = limits
        self._log: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self._out_of_memory_kills = _out_of_memory_kills()
        self._stage = events.Stage(name="import")
        read_end, write_end = os.pipe()
        self._pipe = read_end
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", "speed_benchmark.worker", str(write_end)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=(write_end,),
            start_new_session=True,
            env=worker_environment(job.gpus),
        )
        os.close(write_end)
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        with suppress(BrokenPipeError):  # it died at once: events() finds out how
            self._process.stdin.write(job.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()

    def events(self) -> Iterator[events.Event]:
        """What the worker says, until it has closed.

        Raises WorkerEndedError when it fails, dies, hangs past a limit or talks nonsense.
        """
        tokens = 0
        deadline = time.monotonic() + self._limit_s(tokens)
        for line in self._lines():
            if line is None:
                if time.monotonic() > deadline:
                    limit_s = self._limit_s(tokens)
                    raise self._ended(Outcome.TIMEOUT, f"nothing came for {limit_s:g} s", killed=True)
                continue
            try:
                event = events.EVENT.validate_json(line)
            except ValidationError:
                raise self._ended(Outcome.CRASHED, f"garbage on the pipe: {line[:80]!r}", killed=True) from None
            if isinstance(event, events.Failed):
                raise self._ended(event.outcome, event.cause.message)
            if isinstance(event, events.Stage):
                self._stage, tokens = event, 0
            if not isinstance(event, events.Progress) or event.tokens > tokens:
                tokens = event.tokens if isinstance(event, events.Progress) else 0
                deadline = time.monotonic() + self._limit_s(tokens)
            yield event
            if isinstance(event, events.Closed):
                return

    def end(self) -> None:
        """End the whole process group, whatever state it is in; safe to call twice."""
        with suppress(ProcessLookupError):  # all of it may have ended already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _lines(self) -> Iterator[bytes | None]:
        """Whole lines from the pipe; None each time that nothing came for a moment."""
        buffer = b""
        while True:
            if select.select([self._pipe], [], [], _POLL_S)[0]:
                chunk = os.read(self._pipe, 1 << 16)
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                yield from lines
                if chunk:
                    continue
                raise self._died()
            if self._process.poll() is not None and not select.select([self._pipe], [], [], 0)[0]:
                raise self._died()
            yield None

    def _limit_s(self, tokens: int) -> float:
        match self._stage.name:
            case "import" | "load":
                return self._limits.load_limit_s
            case "close":
                return self._limits.close_limit_s
            case _:
                return self._limits.token_limit_s if tokens else self._limits.first_token_limit_s

    def _died(self) -> WorkerEndedError:
        status = self._process.wait()
        if status == -signal.SIGKILL and _out_of_memory_kills() > self._out_of_memory_kills:
            return self._ended(Outcome.OOM, "killed by the kernel: the machine has no memory left")
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        return self._ended(Outcome.CRASHED, f"the worker {how}")

    def _ended(self, outcome: Outcome, message: str, *, killed: bool = False) -> WorkerEndedError:
        if not killed:
            try:
                self._process.wait(timeout=self._limits.close_limit_s)
            except subprocess.TimeoutExpired:
                killed = True
        self.end()
        status = self._process.returncode
        return WorkerEndedError(
            outcome,
            Cause(
                message=message,
                stage=self._stage.name,
                exit_status=status if status >= 0 else None,
                signal=signal.Signals(-status).name if status < 0 and not killed else None,
                last_lines=self._last_lines(),
            ),
        )

    def _last_lines(self) -> tuple[str, ...]:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - (1 << 16)))
        return tuple(self._log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])


def worker_environment(gpus: Sequence[int]) -> dict[str, str]:
    """What a worker on `gpus` sees of the environment: a whitelist, so that no secret reaches a model's code."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}
    return passed | {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        "HF_HUB_OFFLINE": "1",  # everything was fetched by the parent
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _out_of_memory_kills() -> int:
    """How many processes this kernel has killed for want of memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
