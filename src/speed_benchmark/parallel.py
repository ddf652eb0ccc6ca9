"""Work on many files in several processes: reading and judging records is arithmetic, hundreds a second and core."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

# So many items are worth a process of their own, which takes a second to start; more than the second take memory.
ITEMS_A_PROCESS, MOST_PROCESSES = 300, 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """What `function` makes of each of `items`, in order; of many items in several processes.

    It must be a function of a module, or a partial of one, and what it takes and gives is pickled.
    """
    processes = min(cores(), MOST_PROCESSES, len(items) // ITEMS_A_PROCESS)
    if processes < 2:
        yield from map(function, items)
        return
    # Ctrl-C reaches the whole group: the parent ends the others.
    quiet = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=quiet) as pool:
        yield from pool.map(function, items, chunksize=32)


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
