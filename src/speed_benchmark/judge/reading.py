"""Records of files with their judgement: whatever is wrong with a stranger's file ends here, as what it is."""

from pathlib import Path

from speed_benchmark.judge.judge import judged
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.record import folder
from speed_benchmark.record.format import DamagedRecordError
from speed_benchmark.record.record import Record


def read(path: Path) -> Judged:
    """The record in `path` and what this version thinks of it; raises DamagedRecordError for what is none."""
    return judge_stored(folder.read(path))


def judge_stored(record: Record) -> Judged:
    """What this version thinks of a record that was in a file; raises DamagedRecordError where its figures make none.

    No schema rules out every set of figures that make no sense together, and one file must not hide the rest.
    """
    try:
        return judged(record)
    except Exception as error:
        raise DamagedRecordError(f"it can't be judged: {type(error).__name__}: {error}") from error
