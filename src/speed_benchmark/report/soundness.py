"""The verb `verify`: which files are unchanged records, and which this version judges otherwise."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from speed_benchmark.judge.verify import State, Verified, verify

# What is said of a file before the details; nothing of a sound one.
_SAID = {
    State.DAMAGED: "damaged",
    State.JUDGED_OTHERWISE: "unchanged, judged otherwise by this version",
    State.OTHER: "passed over",
}


def print_verified(paths: Sequence[Path]) -> int:
    """Print a line for each file below `paths` that is not sound, and their numbers; 1 where one is damaged."""
    counts = Counter[State]()
    for one in verify(paths):
        counts[one.state] += 1
        if one.state in _SAID:
            sys.stdout.write(_line(one))
    records = counts.total() - counts[State.OTHER]
    told = f", {counts[State.JUDGED_OTHERWISE]} judged otherwise" if counts[State.JUDGED_OTHERWISE] else ""
    other = f"; {counts[State.OTHER]} other files" if counts[State.OTHER] else ""
    sys.stdout.write(f"{records} records, {counts[State.DAMAGED]} of them damaged{told}{other}\n")
    return int(counts[State.DAMAGED] > 0)


def _line(one: Verified) -> str:
    return f"{one.path}: {_SAID[one.state]}: {' '.join(one.detail.split())}\n"
