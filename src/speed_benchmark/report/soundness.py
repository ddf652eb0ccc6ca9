"""The verb `verify`: which files are unchanged records, and which this version judges otherwise."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from speed_benchmark.judge.verify import State, verify
from speed_benchmark.terminal import say

# What is said of a file before the details; nothing of a sound one. Other files are counted: a project may have
# thousands of them.
_SAID = {State.DAMAGED: "damaged", State.JUDGED_OTHERWISE: "unchanged, judged otherwise by this version"}


def print_verified(paths: Sequence[Path]) -> int:
    """Print a line for each record below `paths` that is not sound, and the numbers of all; 1 where one is damaged."""
    counts, example = Counter[State](), ""
    for one in verify(paths):
        counts[one.state] += 1
        if one.state in _SAID:
            say(f"{one.path}: {_SAID[one.state]}: {one.detail}")
        elif one.state is State.OTHER:
            example = example or f"{one.path}: {one.detail}"
    records = counts.total() - counts[State.OTHER]
    told = f", {counts[State.JUDGED_OTHERWISE]} judged otherwise" if counts[State.JUDGED_OTHERWISE] else ""
    other = f"; {counts[State.OTHER]} passed over, such as {example}" if example else ""
    say(f"{records} records, {counts[State.DAMAGED]} of them damaged{told}{other}")
    return int(counts[State.DAMAGED] > 0)
