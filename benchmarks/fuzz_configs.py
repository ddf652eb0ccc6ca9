"""What a stranger's model can do to the parent process: configs with changed values, taken through all that it does.

Each config.json and generation_config.json is read, planned, printed, estimated and laid out as made-up weights, beside
a weight file that takes no room. Prints how many were refused and how many came through, and each traceback by its
place; exits 1 where there is one.

usage: python -m benchmarks.fuzz_configs [COUNT] [--seed N] [--processes N]
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.fuzzing import fuzz
from tests.models.misshapen import Tally, try_all

# A process has so many to do before it tells of them.
PORTION = 100


def portion(count: int, seed: int) -> Tally:
    """What became of some changed configs."""
    with tempfile.TemporaryDirectory() as folder:
        return try_all(count, seed, Path(folder))


if __name__ == "__main__":
    sys.exit(fuzz(__doc__, 2000, PORTION, portion))
