"""The verbs that read stored records: report, compare, gate, reference. Each returns its exit status."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from speed_benchmark.errors import UserError
from speed_benchmark.report import documents, samples
from speed_benchmark.report.compare import Comparisons, Unlike
from speed_benchmark.report.compare import compare as compare_records
from speed_benchmark.report.documents import Document
from speed_benchmark.report.formats import put, render
from speed_benchmark.report.gather import Gathered, gather
from speed_benchmark.report.rows import rows
from speed_benchmark.report.tables import print_document
from speed_benchmark.report.words import SPEED_FIELDS, AnyFormat, Format, Language, SpeedDefinition, TextFormat


def report(
    paths: Sequence[Path],
    form: AnyFormat,
    language: Language,
    speed: SpeedDefinition,
    out: Path | None,
    plots: Path | None,
) -> int:
    """Report all records below `paths`; `plots` is a folder for charts as PNG and SVG."""
    found = gather("PATH", paths)
    records = [record for _, record in found.records]
    if form == "jsonl":
        put(samples.to_jsonl(records), out)
    elif form == "parquet":
        if out is None and sys.stdout.isatty():
            raise UserError("--format", form, "is not for a terminal; name a file with --out")
        put(samples.to_parquet(records), out)
    else:
        document = documents.report(rows(found.records), language, speed)
        _show(document, form, out)
        if plots:
            from speed_benchmark.report.plots import draw

            draw(document, plots)
    return _tell(found)


def compare(
    before: Path,
    after: Path,
    form: TextFormat,
    language: Language,
    speed: SpeedDefinition,
    across_machines: bool,
    across_protocols: bool,
    out: Path | None,
) -> int:
    """Compare the records of two folders; those of unlike machines or protocols only `across` them."""
    old, new = gather("BEFORE", [before]), gather("AFTER", [after])
    compared = _compare(old, new, (before, after), speed, across_machines, across_protocols)
    _show(documents.comparison(compared, language, speed), form, out)
    return max(_tell(old), _tell(new))


def gate(
    new: Path,
    baseline: Path,
    max_regression: str,
    form: TextFormat,
    language: Language,
    speed: SpeedDefinition,
    out: Path | None,
) -> int:
    """Compare, and end in 1 where a cell regressed, or where no cell has an interval to decide by."""
    limit = _share("--max_regression", max_regression)
    old, now = gather("--baseline", [baseline]), gather("NEW", [new])
    compared = _compare(old, now, (baseline, new), speed)
    _show(documents.comparison(compared, language, speed, limit), form, out)
    regressed = any(cell.regressed(limit) for cell in compared.cells)
    undecided = not any(cell.ratio and cell.ratio.low is not None for cell in compared.cells)
    return max(_tell(old), _tell(now), int(regressed or undecided))


def reference(paths: Sequence[Path], form: Format, language: Language, out: Path | None, plots: Path | None) -> int:
    """Lay the records below `paths` beside the published figures."""
    found = gather("PATH", paths)
    document = documents.reference(rows(found.records), language)
    if not document.data:
        cure = "no cell in common with the Qwen2.5 page: Qwen2.5 Instruct models, transformers or vllm, 2048 generated"
        raise UserError("PATH", ", ".join(map(str, paths)), cure)
    _show(document, form, out)
    if plots:
        from speed_benchmark.report.plots import draw

        draw(document, plots)
    return _tell(found)


def _compare(
    old: Gathered,
    new: Gathered,
    named: tuple[Path, Path],
    speed: SpeedDefinition,
    across_machines: bool = False,
    across_protocols: bool = False,
) -> Comparisons:
    before, after = ([record for _, record in side.records] for side in (old, new))
    accepted: dict[Unlike, bool] = {"machine": across_machines, "protocol": across_protocols}
    across = frozenset(name for name, accept in accepted.items() if accept)
    compared = compare_records(before, after, SPEED_FIELDS[speed], across)
    if not compared.cells:
        cure = f"has no cell in common with {named[1]}: the same model, workload and engine settings"
        raise UserError("BEFORE", named[0], cure)
    return compared


def _show(document: Document, form: Format, out: Path | None) -> None:
    if form == "text" and out is None:
        print_document(document)
    else:
        put(render(document, form).encode(), out)


def _tell(found: Gathered) -> int:
    """Name the files that could not be used on standard error; 1 if there is one."""
    for path, reason in found.damaged:
        print(f"damaged: {path}: {reason}", file=sys.stderr)  # noqa: T201
    return 1 if found.damaged else 0


def _share(option: str, text: str) -> float:
    """`3%` or `0.03` as a number from 0 to below 1; raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(\s*%)?", text.strip(), re.ASCII)
    share = float(match[1]) / (100 if match[2] else 1) if match else -1
    if not 0 <= share < 1:
        raise UserError(option, text, "give a share like 3% or 0.03")
    return share
