"""The verbs that read stored records: report, compare, gate, reference. Each returns its exit status."""

import re
import sys
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from speed_benchmark.errors import UserError
from speed_benchmark.report import documents, pool, samples
from speed_benchmark.report.compare import Comparisons, Measured, Unlike, measured
from speed_benchmark.report.compare import compare as compare_records
from speed_benchmark.report.decision import Gate, decide
from speed_benchmark.report.documents import Document
from speed_benchmark.report.formats import opened, put, render
from speed_benchmark.report.gather import Found, Gathering
from speed_benchmark.report.reference import expected_weights, publication
from speed_benchmark.report.rows import Row
from speed_benchmark.report.tables import print_document
from speed_benchmark.report.words import (
    SPEED_FIELDS,
    AnyFormat,
    Format,
    Language,
    SpeedDefinition,
    SpeedField,
    TextFormat,
    words,
)


def report(
    paths: Sequence[Path],
    form: AnyFormat,
    language: Language,
    speed: SpeedDefinition,
    out: Path | None,
    plots: Path | None,
) -> int:
    """Report all records below `paths`; `plots` is a folder for charts as PNG and SVG."""
    gathering = Gathering("PATH", paths)
    if form == "jsonl" or form == "parquet":
        _write_samples(gathering, form, out)
    else:
        document = documents.report(_rows(gathering, language), language, speed)
        _show(document, form, out)
        _draw(document, plots)
    return gathering.status


def compare(
    before: Path,
    after: Path,
    form: TextFormat,
    language: Language,
    speed: SpeedDefinition,
    across: frozenset[Unlike],
    threshold: str,
    out: Path | None,
) -> int:
    """Compare the records of two folders; those of unlike machines or protocols only `across` them."""
    least = _share("--threshold", threshold)
    old, new = Gathering("BEFORE", [before]), Gathering("AFTER", [after])
    kept = _measured(old, speed, language), _measured(new, speed, language)
    compared = _compare(*kept, (before, after), across, least)
    _show(documents.comparison(compared, language, speed), form, out)
    return max(old.status, new.status)


def gate(
    new: Path,
    baseline: Path,
    max_regression: str,
    form: TextFormat,
    language: Language,
    speed: SpeedDefinition,
    across: frozenset[Unlike],
    threshold: str,
    out: Path | None,
) -> int:
    """Compare, and end in 1 where a cell of the baseline regressed or is missing, in 3 where one is undecided."""
    asked = Gate(_share("--max_regression", max_regression), baseline, new)
    least = _share("--threshold", threshold)
    old, now = Gathering("--baseline", [baseline]), Gathering("NEW", [new])
    kept = _measured(old, speed, language), _measured(now, speed, language)
    compared = _compare(*kept, (baseline, new), across, least)
    _show(documents.comparison(compared, language, speed, asked), form, out)
    damaged = max(old.status, now.status)
    return damaged or decide(compared, asked.max_regression).status


def across(*, machines: bool, protocols: bool) -> frozenset[Unlike]:
    """The differences in spite of which records are compared."""
    accepted: dict[Unlike, bool] = {"machine": machines, "protocol": protocols}
    return frozenset(name for name, accept in accepted.items() if accept)


def reference(
    paths: Sequence[Path],
    page: SpeedDefinition,
    form: Format,
    language: Language,
    out: Path | None,
    plots: Path | None,
) -> int:
    """Lay the records below `paths` beside the figures of one published `page`, by its definition of speed."""
    gathering = Gathering("PATH", paths)
    candidates = list(gathering.each(partial(_candidate, language=language)))
    rows = pool.rows((entry for entry, objection in candidates if objection is None), language)
    left_out = [objection for _, objection in candidates if objection]
    document = documents.reference(rows, publication(page), language, left_out)
    if not document.data:
        asked = "its models and engines, batch size 1, 2048 tokens generated"
        cure = f"no cell in common with the {page.capitalize()} page: {asked}"
        raise UserError("PATH", ", ".join(map(str, paths)), "; ".join([cure, *left_out]))
    _show(document, form, out)
    _draw(document, plots)
    return gathering.status


def _rows(gathering: Gathering, language: Language) -> list[Row]:
    return pool.rows(gathering.each(partial(pool.entry, language=language)), language)


def _candidate(found: Found, language: Language) -> tuple[pool.Entry, str | None]:
    """What is kept of a record, and why it can't stand beside published figures of its name; None where it can."""
    entry, loaded = pool.entry(found, language), found.record.loaded
    held_bytes = loaded.weight_bytes if loaded else 0
    expected_bytes = (
        expected_weights(entry.row.model, entry.row.quantization, held_bytes) if entry.row.measured else None
    )
    if expected_bytes is None:
        return entry, None
    sizes = {"held": f"{held_bytes / 2**30:.2f} GiB", "expected": f"{expected_bytes / 2**30:.2f} GiB"}
    text = words(language)["other_weights"]
    return entry, text.format(file=found.name, model=entry.row.model, **sizes)


def _compare(
    before: Sequence[Measured],
    after: Sequence[Measured],
    named: tuple[Path, Path],
    across: frozenset[Unlike],
    threshold: float,
) -> Comparisons:
    compared = compare_records(before, after, across, threshold)
    if not compared.cells:
        cure = f"has no cell in common with {named[1]}: the same model, workload and engine settings"
        raise UserError("BEFORE", named[0], cure)
    return compared


def _measured(gathering: Gathering, speed: SpeedDefinition, language: Language) -> list[Measured]:
    """What a comparison keeps of each record."""
    return list(gathering.each(partial(_kept, speed=SPEED_FIELDS[speed], language=language)))


def _kept(found: Found, speed: SpeedField, language: Language) -> Measured:
    return measured(found.judged, speed, language)


def _write_samples(gathering: Gathering, form: str, out: Path | None) -> None:
    """Write the samples of all records as they are read."""
    if form == "parquet":
        samples.check_parquet()
        if out is None and sys.stdout.isatty():
            raise UserError("--format", form, "is not for a terminal; name a file with --out")
    records = gathering.records()
    first = next(records)  # what is wrong with all of them is known before a file is opened
    with opened(out) as file:
        samples.WRITERS[form](chain([first], records), file)


def _show(document: Document, form: Format, out: Path | None) -> None:
    if form == "text" and out is None:
        print_document(document)
    else:
        put(render(document, form).encode(), out)


def _draw(document: Document, plots: Path | None) -> None:
    if plots:
        from speed_benchmark.report.plots import draw

        draw(document, plots)


def _share(option: str, text: str) -> float:
    """`3%` or `0.03` as a number from 0 to below 1; raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(\s*%)?", text.strip(), re.ASCII)
    share = float(match[1]) / (100 if match[2] else 1) if match else -1
    if not 0 <= share < 1:
        raise UserError(option, text, "give a share like 3% or 0.03")
    return share
