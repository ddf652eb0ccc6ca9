"""What a stranger's records can do to the tool: true ones with changed values, sealed again, taken through all of it.

The true ones are those of `results/` and some of the fake engine, in all its protocols. Each copy is parsed, judged,
reported, pooled, compared, verified, laid beside the published figures and written out as samples. Prints how many
were damaged and how many passed for records, and each traceback by its place; exits 1 where there is one. The judge
runs bare here: where a verb reads a file, what it raises makes the file damaged.

usage: python -m benchmarks.fuzz_records [COUNT] [--seed N] [--processes N]
"""

import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks.fuzzing import fuzz
from speed_benchmark.record.folder import records
from speed_benchmark.record.record import Record
from tests.faults.sweeps import arguments, make_model, run
from tests.record.forgeries import USES, Tally, shortened, try_all

RESULTS = Path(__file__).parents[1] / "results"
# What differs from one cell to the next of the fake engine; the last of a kind counts.
SHAPES = (
    (),
    ("--repeats", 7, "--processes", 3),
    ("--batch_size", 3, "--audit"),
    ("--quick", "--generate_length", 256, "--batch_size", 2),
    ("--precision", "1%", "--sampling", "greedy"),
)
# A process has so many to do before it tells of them; of so many portions one is also drawn as a page, which is slow.
PORTION, PAGES = 500, 10


def true_records() -> Iterator[Record]:
    """Records that were measured, short ones."""
    yield from (shortened(record, 64) for _, record in records(RESULTS) if isinstance(record, Record))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model", token_growth_s=1e-5, stagger_s=0.001, finite_logits=True)
        full = make_model(folder / "full", room_tokens=1)
        for shape in SHAPES:
            run(arguments([model, full], folder / "out", *shape, lengths="5"), folder / "out")
        made = [record for _, record in records(folder / "out") if isinstance(record, Record)]
    assert len(made) == 2 * len(SHAPES), "the fake engine failed"
    yield from made


@cache
def _records() -> list[Record]:
    """The same, once in a process."""
    return list(true_records())


def portion(count: int, seed: int) -> Tally:
    """What became of some forged records."""
    return try_all(_records(), count, seed, USES if seed % PAGES == 0 else USES.keys() - {"page"})


if __name__ == "__main__":
    sys.exit(fuzz(__doc__, 20_000, PORTION, portion))
