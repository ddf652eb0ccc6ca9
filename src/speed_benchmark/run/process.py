"""A worker process: started on private pipes, watched against time limits, ended with its whole group."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.run.environment import without_secrets
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.log import Log
from speed_benchmark.worker import events, orphans
from speed_benchmark.worker.failure import LONGEST_MESSAGE

_POLL_S = 0.1
# A look at the pipe that took longer did not: this process was stopped meanwhile.
_LONGEST_LOOK_S = 1.0
_LONGEST_LINE_BYTES = 1 << 28
_ENDING_S = 4.0


class WorkerEndedError(Exception):
    """The worker ended, or was ended, before it was done; carries the outcome and the cause."""

    def __init__(self, outcome: Outcome, cause: Cause) -> None:
        self.outcome = outcome
        self.cause = cause
        super().__init__(cause.message)


class Worker:
    """One child process in a session of its own, working on one job.

    What it says comes on one pipe. Over another it is told, after each cell, that what it measured is on disk.
    """

    def __init__(self, job: events.Job, limits: Limits, environment: Mapping[str, str]) -> None:
        self._limits = limits
        self._log = Log()
        self._out_of_memory_kills = _out_of_memory_kills()
        self._stage = events.Stage(name="import")
        self._mark = orphans.new_mark()
        self._is_closed = False
        self._said, write_end = os.pipe()
        read_end, self._go = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-P", "-m", "speed_benchmark.worker", str(write_end), str(read_end)],
                stdin=subprocess.PIPE,
                stdout=self._log.write,
                stderr=subprocess.STDOUT,
                pass_fds=(write_end, read_end),
                start_new_session=True,
                env={**environment, orphans.VARIABLE: self._mark},
            )
        finally:
            for descriptor in (write_end, read_end, self._log.write):
                os.close(descriptor)
        if self._process.stdin:
            _say(self._process.stdin, job.model_dump_json().encode() + b"\n")

    def go_on(self) -> None:
        """Tell the worker, which waits for it after each cell, that what it measured is on disk."""
        with suppress(BrokenPipeError):  # it died: events() finds out how
            os.write(self._go, b"\n")

    def events(self) -> Iterator[events.Event | None]:
        """What the worker says, until it has closed; None each time that nothing came for a moment.

        Raises WorkerEndedError when it fails, dies, hangs past a limit or talks nonsense. What this process stood still
        or did meanwhile is no time that the worker took.
        """
        tokens, waited_s, looked_at = 0, 0.0, time.monotonic()
        for line in self._lines():
            waited_s += min(time.monotonic() - looked_at, _LONGEST_LOOK_S)
            if line is None:
                if waited_s > self._limit_s(tokens):
                    message = f"nothing came for {self._limit_s(tokens):g} s"
                    raise self._ended(Outcome.TIMEOUT, message, killed=True)
                yield None
                looked_at = time.monotonic()
                continue
            try:
                event = events.EVENT.validate_json(line)
            except ValidationError:
                raise self._ended(Outcome.CRASHED, f"garbage on the pipe: {line[:80]!r}", killed=True) from None
            if isinstance(event, events.Failed):
                raise self._ended(event.outcome, event.cause.message)
            if isinstance(event, events.Stage):
                self._stage, tokens = event, 0
            yield event
            if not isinstance(event, events.Progress) or event.tokens > tokens:
                tokens, waited_s = event.tokens if isinstance(event, events.Progress) else 0, 0.0
            if isinstance(event, events.Closed):
                return
            looked_at = time.monotonic()

    def protocol_error(self, event: object, error: Exception) -> WorkerEndedError:
        """The error to raise for an event that can't be said now, as `error` explains."""
        return self._ended(Outcome.CRASHED, f"out of turn on the pipe: {event!r:.80}: {error}", killed=True)

    def end(self) -> None:
        """End the whole process group and all that left it, in whatever state; safe to call twice."""
        group = self._process.pid
        if self._process.returncode is None:  # it still has its id; once it was waited for, a stranger may
            with suppress(ProcessLookupError):  # all of it may have ended already
                os.killpg(group, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # in a driver it can hang even killed
                self._process.wait(_ENDING_S)
        killed = orphans.end(self._mark)
        if self._process.returncode is not None:
            orphans.reap(-group, *killed)
        if self._process.stdin and not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        if not self._is_closed:
            self._is_closed = True
            os.close(self._said)
            os.close(self._go)

    def _lines(self) -> Iterator[bytes | None]:
        """Whole lines from the pipe; None each time that nothing came for a moment."""
        buffer = b""
        while True:
            if select.select([self._said], [], [], _POLL_S)[0]:
                chunk = os.read(self._said, 1 << 20)
                if not chunk:
                    raise self._died()
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                yield from lines
                if len(buffer) > _LONGEST_LINE_BYTES:
                    raise self._ended(Outcome.CRASHED, f"garbage on the pipe: {buffer[:80]!r}", killed=True)
            elif self._status() is not None and not select.select([self._said], [], [], 0)[0]:
                raise self._died()
            else:
                yield None

    def _limit_s(self, tokens: int) -> float:
        match self._stage.name:
            case "import" | "build" | "load":
                return self._limits.load_limit_s
            case "close":
                return self._limits.close_limit_s
            case _:
                return self._limits.token_limit_s if tokens else self._limits.first_token_limit_s

    def _died(self) -> WorkerEndedError:
        """The worker closed its pipe without a last word: it has ended, or is no use any more."""
        status = self._wait()
        if status is None:
            return self._ended(Outcome.CRASHED, "the worker closed its pipe and went on", killed=True)
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with exit status {status}"
        return self._ended(Outcome.CRASHED, f"the worker {how}")

    def _ended(self, outcome: Outcome, message: str, *, killed: bool = False) -> WorkerEndedError:
        """What is to be said of the worker's end; `killed` where it does not end by itself."""
        killed = killed or self._wait() is None
        self.end()
        status = self._process.returncode or 0
        if outcome is Outcome.CRASHED and not killed and _out_of_memory_kills() > self._out_of_memory_kills:
            outcome, message = Outcome.OOM, f"the machine has no memory left, and the kernel killed for it: {message}"
        return WorkerEndedError(
            outcome,
            Cause(
                message=without_secrets(message)[:LONGEST_MESSAGE],
                stage=self._stage.name,
                exit_status=status if status >= 0 else None,
                signal=_signal_name(-status) if status < 0 and not killed else None,
                last_lines=self._log.last_lines(),
            ),
        )

    def _wait(self) -> int | None:
        """The exit status of a worker about to end; None where it does not."""
        give_up = time.monotonic() + _ENDING_S
        while self._status() is None and time.monotonic() < give_up:
            time.sleep(_POLL_S / 10)
        return self._status()

    def _status(self) -> int | None:
        """The exit status, below 0 that of a signal; None while it runs. Its id stays its own until `end`."""
        try:
            seen = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # it was waited for
            return self._process.poll()
        if seen is None:
            return None
        return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _say(pipe: IO[bytes], line: bytes) -> None:
    """Write a line to a worker that may have died already: `events` finds out how."""
    with suppress(BrokenPipeError):
        pipe.write(line)
        pipe.flush()


def _out_of_memory_kills() -> int:
    """How many processes the kernel has killed for want of memory, in this control group or else on the machine."""
    try:
        group = Path("/proc/self/cgroup").read_text().partition("0::/")[2].partition("\n")[0]
        for file in (Path("/sys/fs/cgroup") / group / "memory.events", Path("/proc/vmstat")):
            if file.exists():
                counts = dict(line.split() for line in file.read_text().splitlines())
                return int(counts.get("oom_kill", 0))
    except (OSError, ValueError):
        pass  # a kernel that does not say
    return 0
