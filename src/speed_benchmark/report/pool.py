"""Which records stand for one cell: what was measured alike is pooled, what is out of date is older.

Records of one cell on the same machine, by the same versions, are more of the same: each counts as processes of its
own, so that `--rounds` and further runs make an interval narrower. A record that was disturbed is replaced by a later
one that was not. Of another version's records the newest count. A measurement that is stored twice counts once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speed_benchmark.judge.judge import judge, verdict
from speed_benchmark.judge.judgement import Finding, Judged
from speed_benchmark.judge.moments import moments
from speed_benchmark.machine.describe import difference
from speed_benchmark.record.folder import read
from speed_benchmark.record.machine import Machine, Pace
from speed_benchmark.record.record import Record
from speed_benchmark.record.sample import Sample
from speed_benchmark.report.gather import Found
from speed_benchmark.report.rows import Row, order, row, versions
from speed_benchmark.report.words import Language, words

# So many records give an interval that hardly gets narrower; more of them would take the memory of more.
MOST_POOLED = 100
# Findings about how the repeats vary: of a pool they are found anew. All others a pool takes over from its records.
SPREAD = frozenset(
    {
        "autocorrelation",
        "bimodal",
        "dependent_part",
        "few_repeats",
        "outlier",
        "precision_not_reached",
        "trend",
        "two_paces",
        "wide_first_token",
        "wide_interval",
        "wide_percentiles",
        "wide_spread",
    }
)


@dataclass(frozen=True)
class Entry:
    """What is kept of a record once its row is made; `moments` are those of its requests."""

    path: Path
    row: Row
    machine: Machine
    alike: tuple[object, ...]
    findings: tuple[Finding, ...]
    moments: frozenset[str]

    @property
    def age(self) -> tuple[str, str]:
        """A sort key: the older first."""
        return (self.row.created_at, self.row.record_id)

    @property
    def is_disturbed(self) -> bool:
        """Whether something other than the spread of its repeats is to be doubted."""
        return any(one.doubts_speed and one.code not in SPREAD for one in self.findings)


def entry(found: Found, language: Language) -> Entry:
    """What is kept of a record."""
    opinion = found.judged
    shown = row(opinion, found.name, language)
    findings = opinion.judgement.findings
    return Entry(found.path, shown, found.record.machine, _alike(found.record), findings, moments(found.record))


def rows(entries: Iterable[Entry], language: Language = "en", again: Callable[[Path], Record] = read) -> list[Row]:
    """The rows of all records, in the order of a report; those that are pooled are read `again`."""
    cells: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for one in entries:
        cells[one.row.cell_id, one.row.driver].append(one)
    made = [
        row
        for cell in cells.values()
        for machine in _by_machine(cell)
        for row in _rows_of_cell(machine, language, again)
    ]
    return sorted(made, key=order)


def pooled(records: Sequence[Record]) -> Record:
    """One record of the samples of all `records`, each with processes of its own; the rest is the last one's."""
    newest, first = records[-1], 0
    samples: list[Sample] = []
    warmups: list[Sample] = []
    host_paces: list[Pace] = []
    for record in records:
        samples += [_moved(sample, first) for sample in record.samples]
        warmups += [_moved(sample, first) for sample in record.warmups]
        host_paces += [pace.model_copy(update={"process": pace.process + first}) for pace in record.host_paces]
        first += record.cell.protocol.processes
    protocol = replace(newest.cell.protocol, processes=first)
    cell = replace(newest.cell, protocol=protocol)
    parts = {"samples": tuple(samples), "warmups": tuple(warmups), "host_paces": tuple(host_paces)}
    return newest.model_copy(update={"cell": cell, **parts})


def _alike(record: Record) -> tuple[object, ...]:
    """What records must share to be pooled, beside cell, machine and driver: software, weights, and what really ran."""
    loaded, checkpoint = record.loaded, record.checkpoint
    ran = loaded and (
        loaded.attention_implementation,
        loaded.quantization,
        loaded.quantization_kernels,
        loaded.execution,
        loaded.dtype,
    )
    weights = checkpoint and (checkpoint.source, checkpoint.commit, checkpoint.weights_digest)
    made_by = (record.provenance.measurement_version, *versions(record).items())
    return (made_by, ran, weights, record.prompt, record.sampling)


def _by_machine(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries of each machine."""
    found: list[list[Entry]] = []
    for entry in entries:
        same = next((one for one in found if difference(one[0].machine, entry.machine) is None), None)
        if same is None:
            found.append([entry])
        else:
            same.append(entry)
    return found


def _rows_of_cell(entries: Sequence[Entry], language: Language, again: Callable[[Path], Record]) -> list[Row]:
    """A row for each pool of one cell on one machine; all but the pool of the newest record are older."""
    newest = max(entries, key=lambda entry: entry.age).row
    made = [_row_of_pool(pool, language, again) for pool in _pools(entries, words(language)["note.stored_twice"])]
    return [one.model_copy(update={"older": newest.record_id not in one.record_ids}) for one in made]


def _pools(entries: Sequence[Entry], stored_twice: str) -> list[list[Entry]]:
    """The entries that are pooled, the older first.

    What has no speed stands alone, and so does what is there in a newer record, with the note `stored_twice`.
    """
    alike: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.age):
        alike[entry.alike].append(entry)
    found = []
    for members in alike.values():
        found += [[one] for one in members if not one.row.measured]
        measured = [one for one in members if one.row.measured]
        if measured and not measured[-1].is_disturbed:
            found += _parts([one for one in measured if one.is_disturbed])
            measured = [one for one in measured if not one.is_disturbed]
        once, again = _once(measured)
        found += [[_noted(one, stored_twice)] for one in again]
        found += _parts(once)
    return found


def _once(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The entries that share no request with a newer one, and the others."""
    once: list[Entry] = []
    again: list[Entry] = []
    taken: set[str] = set()
    for entry in reversed(entries):
        (again if taken & entry.moments else once).append(entry)
        taken |= entry.moments
    return once[::-1], again[::-1]


def _noted(entry: Entry, note: str) -> Entry:
    return replace(entry, row=entry.row.model_copy(update={"notes": (*entry.row.notes, note)}))


def _parts(entries: Sequence[Entry]) -> list[list[Entry]]:
    """At most MOST_POOLED each, counted from the newest."""
    return [list(entries[max(0, end - MOST_POOLED) : end]) for end in range(len(entries), 0, -MOST_POOLED)]


def _row_of_pool(pool: Sequence[Entry], language: Language, again: Callable[[Path], Record]) -> Row:
    if len(pool) == 1:
        return pool[0].row
    whole = pooled([again(entry.path) for entry in pool])
    opinion = judge(whole)
    findings = _findings(opinion.findings, pool)
    verdicts = {name: verdict(findings, name) for name in opinion.verdicts}
    judgement = opinion.model_copy(update={"findings": findings, "verdict": verdict(findings), "verdicts": verdicts})
    ids = tuple(entry.row.record_id for entry in reversed(pool))
    return row(Judged(whole, judgement), pool[-1].row.file, language).model_copy(update={"record_ids": ids})


def _findings(of_pool: Sequence[Finding], pool: Sequence[Entry]) -> tuple[Finding, ...]:
    """What the pool's spread shows, and the first finding of each other code that one of its records has."""
    others = [one for entry in pool for one in entry.findings if one.code not in SPREAD]
    first = {one.code: one for one in reversed(others)}
    return (*(one for one in of_pool if one.code in SPREAD), *first.values())


def _moved(sample: Sample, processes: int) -> Sample:
    return sample.model_copy(update={"process": sample.process + processes})
