"""What a report, a comparison and a look at the published figures hold, before it is written in any format."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated

from speed_benchmark.engines import registry
from speed_benchmark.record.base import Frozen
from speed_benchmark.report.columns import Column, Place, columns, distinct
from speed_benchmark.report.compare import Comparison, Comparisons, Measured
from speed_benchmark.report.decision import PASSED, Decision, Gate, decide
from speed_benchmark.report.layout import Command, Filled, Marks, Table, fill, table, tables
from speed_benchmark.report.reference import Publication, Published
from speed_benchmark.report.remeasure import Effort, command, effort, same_but_length
from speed_benchmark.report.rows import Row, order
from speed_benchmark.report.words import SPEED_FIELDS, Language, SpeedDefinition, Words, words

_SHOWN: tuple[Place, ...] = ("report",)
# Where a published figure stands, by the definition of speed of its report.
_PUBLISHED_FIELDS: dict[SpeedDefinition, str] = {
    "qwen2.5": "published_tokens_per_s",
    "qwen3": "published_total_tokens_per_s",
}


@dataclass(frozen=True)
class Document:
    """Text and tables for people, and the same as `data` for programs.

    `rows` are the records behind it, for the page's charts and its raw table; `published` stands in the charts
    beside them.
    """

    language: Language
    speed: SpeedDefinition
    title: str
    intro: tuple[str, ...]
    tables: tuple[Table, ...]
    data: Sequence[Frozen]
    rows: Sequence[Row] = ()
    published: tuple[Published, ...] = field(default=())


class ComparedRow(Frozen):
    """One cell of a comparison."""

    model: Annotated[str, Column(where=_SHOWN)]
    engine: Annotated[str, Column(where=_SHOWN)]
    context_length: Annotated[int, Column(where=_SHOWN)]
    generate_length: Annotated[int, Column(where=_SHOWN, varies=_SHOWN)]
    batch_size: Annotated[int, Column(where=_SHOWN, varies=_SHOWN)]
    quantization: Annotated[str, Column(where=_SHOWN)]
    before_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_SHOWN)]
    after_tokens_per_s: Annotated[float | None, Column(unit="tokens/s", digits=2, where=_SHOWN)]
    ratio: Annotated[float | None, Column(digits=3, where=_SHOWN)]
    ratio_low: Annotated[float | None, Column(label="interval", digits=3, where=_SHOWN, to="ratio_high")]
    ratio_high: float | None
    change: Annotated[str, Column(label="verdict", where=_SHOWN, worded=True)]
    regressed: bool | None
    reasons: tuple[str, ...]
    reason_codes: tuple[str, ...]
    before_record_ids: tuple[str, ...]
    after_record_ids: tuple[str, ...]


class ReferenceRow(Frozen):
    """One cell beside the published one; its speeds are by the one definition of that report."""

    model: Annotated[str, Column(where=_SHOWN)]
    engine: str
    published_engine: str
    context_length: Annotated[int, Column(where=_SHOWN)]
    quantization: Annotated[str, Column(where=_SHOWN)]
    gpu_count: Annotated[int, Column(where=_SHOWN, zero="cpu")]
    published_gpu_count: Annotated[int, Column(where=_SHOWN)]
    generation_tokens_per_s: Annotated[float | None, Column(label="own", unit="tokens/s", digits=2, where=_SHOWN)] = (
        None
    )
    published_tokens_per_s: Annotated[
        float | None, Column(label="published", unit="tokens/s", digits=2, where=_SHOWN)
    ] = None
    total_tokens_per_s: Annotated[float | None, Column(label="own_total", unit="tokens/s", digits=2, where=_SHOWN)] = (
        None
    )
    published_total_tokens_per_s: Annotated[
        float | None, Column(label="published_total", unit="tokens/s", digits=2, where=_SHOWN)
    ] = None
    ratio: Annotated[float, Column(digits=2, where=_SHOWN)]
    published_mbu: Annotated[float | None, Column(unit="%", digits=1, where=_SHOWN)]
    memory_bytes: Annotated[int | None, Column(label="gpu_memory", unit="GiB", digits=2, where=_SHOWN)]
    published_memory_bytes: Annotated[
        float | None, Column(label="published_memory", unit="GiB", digits=2, where=_SHOWN)
    ]
    note: Annotated[str, Column(where=_SHOWN)]
    published_note: Annotated[str, Column(where=_SHOWN)]
    machine: str
    software: str
    published_machine: str
    published_software: str
    record_ids: tuple[str, ...]


def report(rows: Sequence[Row], language: Language, speed: SpeedDefinition) -> Document:
    """The report of `rows`."""
    said = words(language)
    laid = tuple(tables(rows, language, speed))
    return Document(language, speed, said["title"], (said[speed],), laid, data=rows, rows=rows)


def comparison(compared: Comparisons, language: Language, speed: SpeedDefinition, gate: Gate | None = None) -> Document:
    """Two sets of records beside each other; with a `gate`, what that says of each cell."""
    said, least = words(language), _percent(compared.threshold)
    said = said | {"change.no_difference": said["change.no_difference"].format(least=least)}
    cells = sorted(compared.cells, key=lambda cell: order(cell.before[0].row))
    data = [_compared_row(cell, said, speed, gate) for cell in cells]
    intro = (said["ratio_is"].format(least=least), said[speed])
    notes = _only("only_after", compared.only_after, said)
    if gate is None:
        notes = [*_only("only_before", compared.only_before, said), *notes]
    else:
        notes += _gate_notes(compared, said, gate)
    laid = _comparison_table(data, compared, said, notes)
    return Document(language, speed, said["comparison"], intro, (laid,), data)


def reference(rows: Sequence[Row], page: Publication, language: Language, left_out: Sequence[str] = ()) -> Document:
    """The cells of batch size 1 that a page published too, beside its figures; no data without any.

    `left_out` says which records are not laid beside them, and why.
    """
    said = words(language)
    pairs = [(row, found) for row in rows if (found := _published(row, page)) is not None]
    data = [_reference_row(*pair, page) for pair in pairs]
    laid = [
        _reference_table(list(group), page, said) for _, group in groupby(data, key=lambda row: (row.model, row.engine))
    ]
    about = [said["reference_is"], said[page.report], said["published_mbu_is"]]
    about += filter(None, [said.get(f"published.{page.report}"), page.source, *left_out])
    return Document(
        language=language,
        speed=page.report,
        title=said["reference"],
        intro=tuple(about),
        tables=tuple(laid),
        data=data,
        rows=[row for row, _ in pairs],
        published=tuple(found for _, found in pairs),
    )


def _comparison_table(data: Sequence[ComparedRow], compared: Comparisons, said: Words, notes: Sequence[str]) -> Table:
    """The cells in a table; `notes` stand below the reasons of its rows."""
    marks = Marks()
    lines = [row.model_dump() for row in data]
    if compared.overall and len(data) > 1:
        lines.append(_overall(compared, said))
    filled = [
        _marked(one, data, marks) if one.column.name == "change" else one
        for one in fill([column for column in columns(ComparedRow) if column.where], lines, said)
        if not one.column.varies or distinct(one.texts[: len(data)])
    ]
    ids = [row.after_record_ids[-1] for row in data] + [""] * (len(lines) - len(data))
    below = (*marks.notes, *notes)
    return table(filled, ids, "change", title="", conditions=_sides(compared, said), notes=below)


def _overall(compared: Comparisons, said: Words) -> dict[str, object]:
    """The line of all cells that have an interval."""
    count = sum(1 for cell in compared.cells if cell.ratio and cell.ratio.low is not None)
    ratio = compared.overall
    figures = {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high} if ratio else {}
    return {"model": said["overall"].format(count=count), **figures, "change": ratio and ratio.change}


def _marked(one: Filled, data: Sequence[ComparedRow], marks: Marks) -> Filled:
    """The verdicts, with the numbers of the reasons that stand below the table."""
    numbers = [marks.of(row.reasons) for row in data]
    numbers += [""] * (len(one.texts) - len(numbers))
    return Filled(one.column, one.heading, tuple(map("".join, zip(one.texts, numbers, strict=True))))


def _only(name: str, records: Sequence[Measured], said: Words) -> list[str]:
    """Which cells one side alone has."""
    return [said[name].format(count=len(records), names=_names(records, said))] if records else []


def _names(records: Sequence[Measured], said: Words) -> str:
    return said["semicolon"].join(map(_name, sorted((one.row for one in records), key=order)))


def _gate_notes(compared: Comparisons, said: Words, gate: Gate) -> list[str]:
    """What the gate decided and could not decide; the last line is why its exit status is what it is."""
    decision, limit = decide(compared, gate.max_regression), _percent(gate.max_regression)
    missing, undecided = decision.missing, [cell.before[-1] for cell in decision.undecided]
    sentences = {
        "undecided" if len(undecided) > 1 else "undecided_one": len(undecided),
        "missing" if len(missing) > 1 else "missing_one": len(missing),
        "regressions": len(decision.regressed),
        "no_regression": decision.status == PASSED,
    }
    names = {"missing": _names(missing, said), "undecided": _names(undecided, said)}
    told = [
        said[name].format(count=count, all=decision.count, limit=limit, **names)
        for name, count in sentences.items()
        if count
    ]
    return [*_losses(decision, said), *_remedies(decision, said, gate), *told]


def _losses(decided: Decision, said: Words) -> list[str]:
    """The undecided cells that seem to have lost much, each with its loss."""
    if not decided.losses:
        return []
    names = said["semicolon"].join(
        said["loss"].format(name=_name(cell.before[0].row), share=_percent(round(1 - cell.ratio.value, 3)))
        for cell in decided.losses
        if cell.ratio
    )
    return [said["losses"].format(names=names)]


def _remedies(decided: Decision, said: Words, gate: Gate) -> list[str]:
    """What would decide the undecided cells: for each side the commands, one for all cells that differ in their input.

    Where the speeds vary too much for that: how many repeats it would take, and what helps more.
    """
    notes: list[str] = []
    possible: dict[str, list[tuple[Measured, Effort]]] = {"decide_new": [], "decide_baseline": []}
    for cell in (cell for cell in decided.undecided if cell.ratio):
        sides = {"decide_new": cell.after, "decide_baseline": cell.before}
        efforts = {side: effort(cell, records, gate.max_regression) for side, records in sides.items()}
        too_many = [one for one in efforts.values() if one and not one.is_possible]
        if too_many:
            notes.append(_too_many(cell, max(one.repeats * one.processes for one in too_many), said))
            continue
        for side, one in efforts.items():
            possible[side] += [(sides[side][-1], one)] if one else []
    for side, folder in (("decide_new", gate.new), ("decide_baseline", gate.baseline)):
        for cells in _alike(possible[side]):
            notes += _commands(side, cells, folder, said)
    return notes


def _too_many(cell: Comparison, repeats: int, said: Words) -> str:
    """That no number of repeats that anybody makes decides a cell, with the ratio of its quiet pace if it has one."""
    quiet = [one[-1].row.quiet_tokens_per_s for one in (cell.before, cell.after)]
    ratio = quiet[1] / quiet[0] if quiet[0] and quiet[1] else None
    known = "" if ratio is None else said["quiet_ratio"].format(ratio=f"{ratio:.3f}")
    return said["too_many_repeats"].format(name=_name(cell.before[-1].row), repeats=f"{repeats:,}", quiet=known)


def _alike(cells: Sequence[tuple[Measured, Effort]]) -> list[list[tuple[Measured, Effort]]]:
    """The cells of which one command can measure all together, the shortest first."""
    found: list[list[tuple[Measured, Effort]]] = []
    for cell in sorted(cells, key=lambda cell: order(cell[0].row)):
        same = next((group for group in found if same_but_length(group[0][0], cell[0])), None)
        if same is None:
            found.append([cell])
        else:
            same.append(cell)
    return found


def _commands(side: str, cells: Sequence[tuple[Measured, Effort]], folder: Path, said: Words) -> list[str]:
    """The command for `cells`, and above it what it is for; none that can't be shown on one line."""
    records, efforts = zip(*cells, strict=True)
    shown = command(records, efforts, folder)
    names = said["semicolon"].join(map(_name, (record.row for record in records)))
    lead = said[side].format(names=names, software=records[0].row.software)
    return [lead, Command(shown)] if shown.isprintable() else []


def _sides(compared: Comparisons, said: Words) -> str:
    """On what both sides were measured."""
    before = [one.row for cell in compared.cells for one in cell.before]
    after = [one.row for cell in compared.cells for one in cell.after]
    sides = (("from", before), ("to", after))
    return said["semicolon"].join(said["label"].format(label=said[name], value=_ran_on(side)) for name, side in sides)


def _compared_row(cell: Comparison, said: Words, speed: SpeedDefinition, gate: Gate | None) -> ComparedRow:
    first, ratio = cell.before[0].row, cell.ratio
    return ComparedRow(
        model=first.model,
        engine=first.engine,
        context_length=first.context_length,
        generate_length=first.generate_length,
        batch_size=first.batch_size,
        quantization=first.quantization,
        before_tokens_per_s=_mean_speed(cell.before, speed),
        after_tokens_per_s=_mean_speed(cell.after, speed),
        ratio=ratio.value if ratio else None,
        ratio_low=ratio.low if ratio else None,
        ratio_high=ratio.high if ratio else None,
        change=cell.change,
        regressed=None if gate is None else cell.regressed(gate.max_regression),
        reasons=tuple(reason.text(said) for reason in cell.reasons),
        reason_codes=tuple(reason.code for reason in cell.reasons),
        before_record_ids=tuple(one.row.record_id for one in cell.before),
        after_record_ids=tuple(one.row.record_id for one in cell.after),
    )


def _mean_speed(records: Sequence[Measured], speed: SpeedDefinition) -> float | None:
    """The mean of the records' speeds; None where one has none that may be shown."""
    values = [getattr(one.row, SPEED_FIELDS[speed]) for one in records if one.row.measured]
    return sum(values) / len(values) if len(values) == len(records) else None


def _ran_on(rows: Sequence[Row]) -> str:
    """The most common machine and versions of `rows`."""
    described = Counter("; ".join(filter(None, (row.machine, row.driver, row.software))) for row in rows)
    return described.most_common(1)[0][0]


def _name(row: Row) -> str:
    return " ".join(filter(None, (row.model, row.quantization, row.engine, row.length)))


def _percent(share: float) -> str:
    """`3%`, `0.1%`."""
    return f"{share * 100:.4g}%"


def _published(row: Row, page: Publication) -> Published | None:
    alike = row.generate_length == page.generate_length and row.batch_size == 1
    if not alike or row.older or not row.measured:
        return None
    return page.matching(row.engine, row.model, row.context_length, row.quantization, row.gpu_count)


def _reference_row(row: Row, found: Published, page: Publication) -> ReferenceRow:
    own, there = getattr(row, SPEED_FIELDS[page.report]), found.tokens_per_s
    assert own is not None and there is not None  # noqa: S101, PT018 - it is measured, and they match
    return ReferenceRow(
        model=row.model,
        engine=row.engine,
        published_engine=found.engine,
        context_length=row.context_length,
        quantization=row.quantization,
        gpu_count=row.gpu_count,
        published_gpu_count=found.gpu_count,
        **{SPEED_FIELDS[page.report]: own, _PUBLISHED_FIELDS[page.report]: there},
        ratio=own / there,
        published_mbu=page.bandwidth_share(found),
        memory_bytes=row.memory_bytes if row.gpu_count else None,
        published_memory_bytes=None if found.memory_gib is None else found.memory_gib * 2**30,
        note=row.note,
        published_note=found.note,
        machine=row.machine,
        software=row.software,
        published_machine=page.machine,
        published_software=page.software[found.engine],
        record_ids=row.record_ids,
    )


def _reference_table(members: Sequence[ReferenceRow], page: Publication, said: Words) -> Table:
    """The cells of one model and engine; an engine that stands beside another's figures says whose they are."""
    first = members[0]
    title = f"{first.model} ({registry.title(first.engine)})"
    if first.published_engine != first.engine:
        there_on = page.titles.get(first.published_engine, first.published_engine)
        title = said["other_engine"].format(title=title, engine=there_on)
    own = ", ".join(dict.fromkeys(f"{row.machine}; {row.software}" for row in members))
    there = f"{first.published_machine}; {first.published_software}"
    names = {"own_here": said["own_here"], "published_there": said["published_there"]}
    return table(
        fill([column for column in columns(ReferenceRow) if column.where], [row.model_dump() for row in members], said),
        [row.record_ids[0] for row in members],
        SPEED_FIELDS[page.report],
        title=title,
        conditions=said["sources"].format(own=own, published=there, **names),
        spanned=2,
        bars=tuple(bar for row in members for bar in _reference_bars(row, page.report, said)),
    )


def _reference_bars(row: ReferenceRow, report: SpeedDefinition, said: Words) -> list[tuple[str, float, str]]:
    label = f"{row.context_length} {row.quantization}"
    speeds = (
        ("own_here", getattr(row, SPEED_FIELDS[report])),
        ("published_there", getattr(row, _PUBLISHED_FIELDS[report])),
    )
    return [(f"{label} {said[name]}", speed, f"{speed:.2f}") for name, speed in speeds]
