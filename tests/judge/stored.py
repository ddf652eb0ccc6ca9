"""Real records, for rules whose constants come from others: the fixtures of schema 1, whatever results/ holds now."""

import zipfile
from pathlib import Path

from speed_benchmark.record.format import parse
from speed_benchmark.record.record import Record

_ARCHIVE = Path(__file__).parents[1] / "record" / "schema1.zip"


def stored(engine: str, context_length: int, *, model: str = "", quick: bool | None = None) -> list[Record]:
    """The finished records of an engine at an input length, of models whose name ends so; `quick` or not, None both."""
    with zipfile.ZipFile(_ARCHIVE) as archive:
        records = [
            parse(archive.read(name)) for name in archive.namelist() if f"context_length-{context_length}_" in name
        ]
    return [
        record
        for record in records
        if record.cell.settings.engine == engine
        and record.cell.model.model_id_or_path.endswith(model)
        and quick in (None, record.cell.protocol.quick)
        and record.samples
    ]
