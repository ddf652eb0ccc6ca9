"""How a worker tells its parent why it can't go on."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from speed_benchmark.engines.protocol import UnsupportedError
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.worker.events import Failed
from speed_benchmark.worker.pipe import ParentGoneError, Pipe

LONGEST_MESSAGE = 1000
# The parent cuts it once it has hidden secrets: half of one that was cut before could not be told.
_LONGEST_TOLD = 16 * LONGEST_MESSAGE


class ToldError(Exception):
    """The parent has been told why this worker can't go on; the cause is the error that it was told of."""


@contextmanager
def told(pipe: Pipe) -> Iterator[None]:
    """Tell the parent at once of whatever is raised inside, and raise ToldError in its place.

    At once, because leaving an engine that has failed may take long, or hang: the parent then ends this process.
    """
    try:
        yield
    except (ToldError, ParentGoneError):
        raise
    except BaseException as error:
        traceback.print_exception(error)
        message = " ".join(f"{type(error).__name__}: {error}".split())
        pipe.send(Failed(outcome=outcome_of(error), cause=Cause(message=message[:_LONGEST_TOLD])))
        raise ToldError from error


def outcome_of(error: BaseException) -> Outcome:
    """How a cell ended that failed by `error`."""
    if isinstance(error, UnsupportedError):
        return Outcome.UNSUPPORTED
    # By its name, for PyTorch has one too, and is not imported here.
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return Outcome.OOM if out_of_memory else Outcome.CRASHED
