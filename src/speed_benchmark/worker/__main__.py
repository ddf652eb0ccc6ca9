"""Run a worker: `python -m speed_benchmark.worker WRITE_FD GO_FD`, with its job as a line on standard input.

It says what happens on the first descriptor, and reads on the second that a cell is on disk. The only process of a
sweep that imports torch.
"""

import os
import signal
import sys
from collections.abc import Sequence

from speed_benchmark.worker import events, orphans
from speed_benchmark.worker.failure import ToldError, told
from speed_benchmark.worker.measure import work
from speed_benchmark.worker.pipe import ParentGoneError, Pipe


def main() -> int:
    """Read the job from standard input, and work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    line = _line()
    if not line:
        return 1
    write, go = map(int, sys.argv[1:3])
    for descriptor in (write, go):
        os.set_inheritable(descriptor, False)
    _guard((write, go))
    orphans.die_with_parent()
    pipe = Pipe(write, go)
    try:
        with told(pipe):
            job = events.Job.model_validate_json(line)
            stay_on(job.cores)
            work(job, pipe)
    except (ToldError, ParentGoneError):
        return 1
    return 0


def _line() -> bytes:
    """The first line of standard input; nothing where it ends before."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 65536)
        if not chunk:
            return b""
        line += chunk
    return line


def stay_on(cores: Sequence[int]) -> None:
    """Keep this process on these cores, none for all of them; on a system that can't, it stays on all."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _guard(pipes: Sequence[int]) -> None:
    """Leave a process behind that ends this whole group, and all that left it, when the parent dies, however it dies.

    It waits on standard input, which the parent holds open, and shares no interpreter lock with an engine
    that hangs. It closes `pipes`, so that their other ends see when this process ends.
    """
    if os.fork() == 0:
        for descriptor in pipes:
            os.close(descriptor)
        while os.read(0, 4096):
            pass
        orphans.end(os.environ.get(orphans.VARIABLE, ""))
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
