"""What a report, a comparison and a look at the published figures hold, before it is written in any format."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from speed_benchmark.record.record import Frozen, Record
from speed_benchmark.report import rows as flat
from speed_benchmark.report.compare import Comparison, Comparisons, Ratio
from speed_benchmark.report.layout import ENGINES, Line, Table, tables
from speed_benchmark.report.reference import GENERATED_TOKENS, MACHINE, SOFTWARE, SOURCE, Published, matching
from speed_benchmark.report.rows import GIB, Row
from speed_benchmark.report.words import SPEED_FIELDS, WORDS, Language, SpeedDefinition


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

    model: str
    engine: str
    input_tokens: int
    quantization: str
    before_tokens_per_s: float | None
    after_tokens_per_s: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    verdict: str
    regressed: bool | None
    reason: str
    before_record_ids: tuple[str, ...]
    after_record_ids: tuple[str, ...]


class ReferenceRow(Frozen):
    """One cell beside the published one."""

    model: str
    engine: str
    input_tokens: int
    quantization: str
    gpu_count: int
    tokens_per_s: float
    memory_gib: float | None
    machine: str
    software: str
    record_id: str
    published_gpu_count: int
    published_tokens_per_s: float
    published_memory_gib: float | None
    published_machine: str
    published_software: str
    published_note: str
    ratio: float


def report(rows: Sequence[Row], language: Language, speed: SpeedDefinition) -> Document:
    """The report of `rows`."""
    words = WORDS[language]
    return Document(
        language=language,
        speed=speed,
        title=words["title"],
        intro=(words[speed],),
        tables=tuple(tables(rows, language, speed)),
        data=rows,
        rows=rows,
    )


def comparison(
    compared: Comparisons, language: Language, speed: SpeedDefinition, max_regression: float | None = None
) -> Document:
    """Two sets of records beside each other; with `max_regression`, what the gate says of each cell."""
    words = WORDS[language]
    lines, data = [], []
    marks: dict[str, int] = {}  # reason -> its number below the table
    for cell in sorted(compared.cells, key=lambda cell: flat.order(flat.row(cell.before[0], ""))):
        data.append(_compared_row(cell, speed, max_regression))
        lines.append(_compared_line(cell, data[-1], words, marks))
    if compared.overall and len(compared.cells) > 1:
        count = sum(1 for row in data if row.ratio_low is not None)
        overall = compared.overall
        text = (words["overall"].format(count=count), *[""] * 5, *_ratio(overall), words[overall.change])
        lines.append(Line(cells=text, record_id=""))
    names = ("model", "engine", "input", "quantization", "before", "after", "ratio", "interval", "verdict")
    kept = [index for index in range(len(names)) if any(line.cells[index] for line in lines)]
    notes = [f"[{number}] {reason}" for reason, number in marks.items()]
    for name, only in (("only_before", compared.only_before), ("only_after", compared.only_after)):
        if only:
            notes.append(words[name].format(count=len(only), names="; ".join(_name(record) for record in only)))
    if max_regression is not None:
        count = sum(1 for row in data if row.regressed)
        decided = any(row.ratio_low is not None for row in data)
        verdict = words["regressions" if count else "no_regression" if decided else "no_decision"]
        notes.append(verdict.format(count=count, all=len(data), limit=f"{max_regression:.1%}".replace(".0", "")))
    table = Table(
        title="",
        conditions="; ".join(
            f"{words[name]}{words['colon']}{_environment(side)}"
            for name, side in (
                ("from", [record for cell in compared.cells for record in cell.before]),
                ("to", [record for cell in compared.cells for record in cell.after]),
            )
        ),
        columns=tuple(words[names[index]] for index in kept),
        numeric=tuple(names[index] in ("input", "before", "after", "ratio", "interval") for index in kept),
        lines=tuple(Line(tuple(line.cells[index] for index in kept), line.record_id) for line in lines),
        notes=tuple(notes),
        linked=kept.index(names.index("verdict")),
    )
    shown = flat.rows(("", record) for cell in compared.cells for record in (*cell.before, *cell.after))
    intro = (words["ratio_is"], words[speed])
    return Document(language, speed, words["comparison"], intro, (table,), data, shown)


def reference(rows: Sequence[Row], language: Language) -> Document:
    """The newest record of each cell that the Qwen2.5 page has too, beside the page's figure; no data without any."""
    words = WORDS[language]
    pairs = [(row, found) for row in flat.newest(rows)[0] if row.measured and (found := _published(row))]
    data = [_reference_row(row, found) for row, found in pairs]
    shown = [row for row, _ in pairs]
    laid = []
    for (model, engine), group in groupby(
        zip(data, shown, strict=True), key=lambda pair: (pair[1].model, pair[1].engine)
    ):
        members = [pair[0] for pair in group]
        columns: dict[str, tuple[str, ...]] = {
            "model": tuple(row.model for row in members),
            "input": tuple(str(row.input_tokens) for row in members),
            "quantization": tuple(row.quantization for row in members),
            "gpus": tuple(str(row.gpu_count) if row.gpu_count else words["cpu"] for row in members),
            "published_gpus": tuple(str(row.published_gpu_count) for row in members),
            "own": tuple(f"{row.tokens_per_s:.2f}" for row in members),
            "published": tuple(f"{row.published_tokens_per_s:.2f}" for row in members),
            "ratio": tuple(f"{row.ratio:.2f}" for row in members),
            "memory": tuple(_gib(row.memory_gib) for row in members),
            "published_memory": tuple(_gib(row.published_memory_gib) for row in members),
            "note": tuple(row.published_note for row in members),
        }
        kept = [name for name, texts in columns.items() if any(texts)]
        own = ", ".join(dict.fromkeys(f"{row.machine}; {row.software}" for row in members))
        bars = []
        for row in members:
            label = f"{row.input_tokens} {row.quantization}"
            bars.append((f"{label} {words['own_here']}", row.tokens_per_s, f"{row.tokens_per_s:.2f}"))
            there = row.published_tokens_per_s
            bars.append((f"{label} {words['published_there']}", there, f"{there:.2f}"))
        laid.append(
            Table(
                title=f"{model} ({ENGINES.get(engine, engine)})",
                conditions=(
                    f"{words['own_here']}{words['colon']}{own}. "
                    f"{words['published_there']}{words['colon']}{MACHINE}; {SOFTWARE[engine]}."
                ),
                columns=tuple(words[name] for name in kept),
                numeric=tuple(name not in ("model", "quantization", "note") for name in kept),
                lines=tuple(
                    Line(tuple(columns[name][index] for name in kept), row.record_id)
                    for index, row in enumerate(members)
                ),
                spanned=2,
                linked=kept.index("own"),
                bars=tuple(bars),
            )
        )
    intro = (words["reference_is"], words["qwen2.5"], SOURCE)
    published = tuple(found for _, found in pairs)
    return Document(language, "qwen2.5", words["reference"], intro, tuple(laid), data, shown, published)


def _published(row: Row) -> Published | None:
    if row.output_tokens != GENERATED_TOKENS:
        return None
    return matching(row.engine, row.model, row.input_tokens, row.quantization, row.gpu_count)


def _reference_row(row: Row, found: Published) -> ReferenceRow:
    assert row.generation_tokens_per_s is not None  # noqa: S101 - it is measured
    return ReferenceRow(
        model=row.model,
        engine=row.engine,
        input_tokens=row.input_tokens,
        quantization=row.quantization,
        gpu_count=row.gpu_count,
        tokens_per_s=row.generation_tokens_per_s,
        memory_gib=row.memory_bytes / GIB if row.memory_bytes and row.gpu_count else None,
        machine=row.machine,
        software=row.software,
        record_id=row.record_id,
        published_gpu_count=found.gpu_count,
        published_tokens_per_s=found.tokens_per_s,
        published_memory_gib=found.memory_gib,
        published_machine=MACHINE,
        published_software=SOFTWARE[found.engine],
        published_note=found.note,
        ratio=row.generation_tokens_per_s / found.tokens_per_s,
    )


def _compared_row(cell: Comparison, speed: SpeedDefinition, max_regression: float | None) -> ComparedRow:
    first = flat.row(cell.before[0], "")
    ratio = cell.ratio
    return ComparedRow(
        model=first.model,
        engine=first.engine,
        input_tokens=first.input_tokens,
        quantization=first.quantization,
        before_tokens_per_s=_mean_speed(cell.before, speed),
        after_tokens_per_s=_mean_speed(cell.after, speed),
        ratio=ratio.value if ratio else None,
        ratio_low=ratio.low if ratio else None,
        ratio_high=ratio.high if ratio else None,
        verdict=cell.change,
        regressed=None if max_regression is None else cell.regressed(max_regression),
        reason=cell.reason,
        before_record_ids=tuple(record.record_id for record in cell.before),
        after_record_ids=tuple(record.record_id for record in cell.after),
    )


def _compared_line(cell: Comparison, row: ComparedRow, words: dict[str, str], marks: dict[str, int]) -> Line:
    speeds = ["" if value is None else f"{value:.2f}" for value in (row.before_tokens_per_s, row.after_tokens_per_s)]
    ratio = _ratio(cell.ratio) if cell.ratio else ("", "")
    what = (row.model, row.engine, str(row.input_tokens), row.quantization)
    verdict = words[cell.change]
    if cell.reason:
        verdict += f" [{marks.setdefault(cell.reason, len(marks) + 1)}]"
    return Line((*what, *speeds, *ratio, verdict), row.after_record_ids[-1])


def _ratio(ratio: Ratio) -> tuple[str, str]:
    interval = "" if ratio.low is None or ratio.high is None else f"{ratio.low:.3f} to {ratio.high:.3f}"
    return f"{ratio.value:.3f}", interval


def _mean_speed(records: Sequence[Record], speed: SpeedDefinition) -> float | None:
    """The mean of the records' speeds; None where one has none that may be shown."""
    shown = [flat.row(record, "") for record in records]
    values = [getattr(row, SPEED_FIELDS[speed]) for row in shown if row.measured]
    return sum(values) / len(values) if len(values) == len(shown) else None


def _environment(records: Sequence[Record]) -> str:
    """The most common machine and versions of `records`."""
    described = Counter(
        "; ".join(filter(None, (flat.hardware(record.machine), record.machine.driver, flat.software(record))))
        for record in records
    )
    return described.most_common(1)[0][0]


def _name(record: Record) -> str:
    row = flat.row(record, "")
    return f"{row.model} {row.quantization} {row.engine} {row.input_tokens}".replace("  ", " ")


def _gib(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
