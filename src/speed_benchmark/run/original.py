"""The row that an engine's original script wrote of a measurement, for the CSV file beside its record."""

from speed_benchmark.engines import registry
from speed_benchmark.errors import UserError
from speed_benchmark.record.record import Record


def row(record: Record) -> dict[str, object]:
    """Column -> value; empty where the engine had no such script, is not installed here, or there is no speed."""
    from speed_benchmark.judge.judge import judged  # numpy and scipy, which a refusal need not wait for

    try:
        settings = registry.settings_of(record.cell.settings)
    except (UserError, TypeError):  # another version of the engine's plugin may have other options
        return {}
    return settings.original_row(judged(record))
