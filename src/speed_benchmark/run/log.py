"""What a worker prints: read at once, so that it neither waits nor fills a disk; only the last lines are kept."""

import os
import re
import threading
from collections import deque

from speed_benchmark.run.environment import without_secrets

LINES = 50
LONGEST_LINE = 500
# So much of a line is kept: a secret that its end cuts in two is beyond what is shown.
_KEPT_BYTES = 16 * LONGEST_LINE
_READ_WITHIN_S = 1.0


class Log:
    """A pipe whose end `write` is a worker's output; close that here once the worker has it.

    Whoever holds the other end holds the thread that reads: it ends with the last process that has the pipe.
    """

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=LINES)
        self._read, self.write = os.pipe()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def last_lines(self) -> tuple[str, ...]:
        """The last lines of a worker that has ended, each cut to a length that can be shown, without secrets."""
        self._thread.join(_READ_WITHIN_S)  # a process that a driver does not let go keeps the pipe open
        return tuple(without_secrets(line.decode(errors="replace"))[:LONGEST_LINE] for line in list(self._lines))

    def _keep(self) -> None:
        rest = b""
        while chunk := os.read(self._read, 1 << 16):
            *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
            self._lines.extend(line[:_KEPT_BYTES] for line in lines if line)
            rest = rest[:_KEPT_BYTES]
        self._lines.extend([rest] if rest else [])
        os.close(self._read)
