"""What a report, a comparison and a look at the published figures hold, before it is written in any format."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Annotated

from speed_benchmark.cell import INTERVAL_REPEATS
from speed_benchmark.engines import registry
from speed_benchmark.judge.statistics import INTERVAL_PROCESSES
from speed_benchmark.record.base import Frozen
from speed_benchmark.report.columns import Column, Place, columns, distinct
from speed_benchmark.report.compare import LEAST_EFFECT, Comparison, Comparisons, Measured
from speed_benchmark.report.decision import PASSED, Decision, decide
from speed_benchmark.report.layout import Filled, Marks, Table, fill, table, tables
from speed_benchmark.report.reference import Published, matching, publication
from speed_benchmark.report.rows import Row, order
from speed_benchmark.report.words import SPEED_FIELDS, Language, SpeedDefinition, Words, words

_SHOWN: tuple[Place, ...] = ("report",)


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
    """One cell beside the published one."""

    model: Annotated[str, Column(where=_SHOWN)]
    engine: str
    context_length: Annotated[int, Column(where=_SHOWN)]
    quantization: Annotated[str, Column(where=_SHOWN)]
    gpu_count: Annotated[int, Column(where=_SHOWN, zero="cpu")]
    published_gpu_count: Annotated[int, Column(where=_SHOWN)]
    generation_tokens_per_s: Annotated[float, Column(label="own", unit="tokens/s", digits=2, where=_SHOWN)]
    published_tokens_per_s: Annotated[float, Column(label="published", unit="tokens/s", digits=2, where=_SHOWN)]
    ratio: Annotated[float, Column(digits=2, where=_SHOWN)]
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


def comparison(
    compared: Comparisons, language: Language, speed: SpeedDefinition, max_regression: float | None = None
) -> Document:
    """Two sets of records beside each other; with `max_regression`, what the gate says of each cell."""
    said = words(language)
    cells = sorted(compared.cells, key=lambda cell: order(cell.before[0].row))
    data = [_compared_row(cell, said, speed, max_regression) for cell in cells]
    intro = (said["ratio_is"].format(least=_percent(LEAST_EFFECT)), said[speed])
    notes = _only("only_after", compared.only_after, said)
    if max_regression is None:
        notes = [*_only("only_before", compared.only_before, said), *notes]
    else:
        notes += _gate_notes(compared, said, max_regression)
    laid = _comparison_table(data, compared, said, notes)
    return Document(language, speed, said["comparison"], intro, (laid,), data)


def reference(rows: Sequence[Row], language: Language, left_out: Sequence[str] = ()) -> Document:
    """The cells of batch size 1 that were published too, beside the published figures; no data without any.

    `left_out` says which records are not laid beside them, and why.
    """
    said = words(language)
    pairs = [(row, found) for row in rows if (found := _published(row)) is not None]
    laid = [
        _reference_table([_reference_row(*pair) for pair in group], said)
        for _, group in groupby(pairs, key=lambda pair: (pair[0].model, pair[0].engine))
    ]
    return Document(
        language=language,
        speed="qwen2.5",
        title=said["reference"],
        intro=(said["reference_is"], said["qwen2.5"], publication().source, *left_out),
        tables=tuple(laid),
        data=[_reference_row(*pair) for pair in pairs],
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


def _gate_notes(compared: Comparisons, said: Words, max_regression: float) -> list[str]:
    """What the gate decided and could not decide; the last line is why its exit status is what it is."""
    decision, limit = decide(compared, max_regression), _percent(max_regression)
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
    return [*_losses(decision, said), *told]


def _losses(decided: Decision, said: Words) -> list[str]:
    """The undecided cells that seem to have lost much, each with its loss, and what would decide them."""
    if not decided.losses:
        return []
    names = said["semicolon"].join(
        said["loss"].format(name=_name(cell.before[0].row), share=_percent(round(1 - cell.ratio.value, 3)))
        for cell in decided.losses
        if cell.ratio
    )
    return [said["losses"].format(names=names, repeats=INTERVAL_REPEATS, processes=INTERVAL_PROCESSES)]


def _sides(compared: Comparisons, said: Words) -> str:
    """On what both sides were measured."""
    before = [one.row for cell in compared.cells for one in cell.before]
    after = [one.row for cell in compared.cells for one in cell.after]
    sides = (("from", before), ("to", after))
    return said["semicolon"].join(said["label"].format(label=said[name], value=_ran_on(side)) for name, side in sides)


def _compared_row(cell: Comparison, said: Words, speed: SpeedDefinition, max_regression: float | None) -> ComparedRow:
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
        regressed=None if max_regression is None else cell.regressed(max_regression),
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


def _published(row: Row) -> Published | None:
    alike = row.generate_length == publication().generate_length and row.batch_size == 1
    if not alike or row.older or not row.measured:
        return None
    return matching(row.engine, row.model, row.context_length, row.quantization, row.gpu_count)


def _reference_row(row: Row, found: Published) -> ReferenceRow:
    assert row.generation_tokens_per_s is not None  # noqa: S101 - it is measured
    return ReferenceRow(
        model=row.model,
        engine=row.engine,
        context_length=row.context_length,
        quantization=row.quantization,
        gpu_count=row.gpu_count,
        published_gpu_count=found.gpu_count,
        generation_tokens_per_s=row.generation_tokens_per_s,
        published_tokens_per_s=found.tokens_per_s,
        ratio=row.generation_tokens_per_s / found.tokens_per_s,
        memory_bytes=row.memory_bytes if row.gpu_count else None,
        published_memory_bytes=None if found.memory_gib is None else found.memory_gib * 2**30,
        note=row.note,
        published_note=found.note,
        machine=row.machine,
        software=row.software,
        published_machine=publication().machine,
        published_software=publication().software[found.engine],
        record_ids=row.record_ids,
    )


def _reference_table(members: Sequence[ReferenceRow], said: Words) -> Table:
    first = members[0]
    own = ", ".join(dict.fromkeys(f"{row.machine}; {row.software}" for row in members))
    there = f"{first.published_machine}; {first.published_software}"
    names = {"own_here": said["own_here"], "published_there": said["published_there"]}
    return table(
        fill([column for column in columns(ReferenceRow) if column.where], [row.model_dump() for row in members], said),
        [row.record_ids[0] for row in members],
        "generation_tokens_per_s",
        title=f"{first.model} ({registry.title(first.engine)})",
        conditions=said["sources"].format(own=own, published=there, **names),
        spanned=2,
        bars=tuple(bar for row in members for bar in _reference_bars(row, said)),
    )


def _reference_bars(row: ReferenceRow, said: Words) -> list[tuple[str, float, str]]:
    label = f"{row.context_length} {row.quantization}"
    speeds = (("own_here", row.generation_tokens_per_s), ("published_there", row.published_tokens_per_s))
    return [(f"{label} {said[name]}", speed, f"{speed:.2f}") for name, speed in speeds]
