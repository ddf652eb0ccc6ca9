"""What a sweep makes of a disk that fails once, at each file operation of the store and of unfinished parts in turn.

Five errors at each of some 200 operations, each in a sweep on the fake engine that is given again without it. Prints
how many were met: the command went on or ended in a line, nothing was damaged, and the same command did the rest. Exits
1 where one was not. Takes an hour on two cores.

usage: disk_errors.py [ENOSPC|EIO|EDQUOT|EROFS|EACCES …]
"""

import os
import sys
import tempfile
from pathlib import Path

from tests.faults.disk_errors import ERRORS, in_lanes


def main() -> int:
    """Let it fail, count, judge."""
    with tempfile.TemporaryDirectory() as folder:
        total = in_lanes(Path(folder), os.cpu_count() or 1, 1, sys.argv[1:] or ERRORS)
    print(f"disk errors: {total['met']} met of {total['injected']} injected")
    return int(total["met"] < total["injected"] or not total["injected"])


if __name__ == "__main__":
    sys.exit(main())
