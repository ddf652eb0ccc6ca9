"""Records with changed values, sealed again as the tool seals them, and all that is done with a stranger's record."""

import hashlib
import io
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from speed_benchmark.cell import Cell, canonical_json
from speed_benchmark.judge.judge import judged
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.judge.verify import differences
from speed_benchmark.record.format import DamagedRecordError, judgement, parse, seal, serialize
from speed_benchmark.record.record import Record
from speed_benchmark.report import documents, pool
from speed_benchmark.report.compare import compare, measured
from speed_benchmark.report.decision import Gate
from speed_benchmark.report.formats import render
from speed_benchmark.report.gather import Found
from speed_benchmark.report.reference import publication
from speed_benchmark.report.samples import WRITERS
from speed_benchmark.report.words import Format, Language
from speed_benchmark.run.stored import of_judged
from tests import fuzzing

# JSON texts that no Python value writes.
TEXTS = {"@1e400@": "1e400", "@-1e400@": "-1e400", "@deep@": "[" * 2000 + "]" * 2000, "@long@": "9" * 5000}
WHOLE = (0, 1, -1, 2, 7, 48, 10**7, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**25, -(10**25), 10**400)
FRACTIONS = (0.0, -0.0, -0.5, 0.5, 1.0, 1.5, 1e-9, 5e-10, 1e9, -1e9, 1e11, 1e18, -1e18, 1e24, 1e25)
EXTREMES = (5e-324, 1e-308, 1e308, -1e308, float("nan"), float("inf"), "@1e400@", "@-1e400@", "@long@")
STRINGS = ("", "x", "0", "\x1b[2J", "\0", "\ud800", "\u202e", "{variant}", "=1+1", "ok", "start", "a" * 300_000)
MOMENTS = ("yesterday", "2026-01-02", "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00", "2026-W01-1")
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [0], [[]], [None], {"a": 1}, "@deep@", [1.0, 0.5], [[1, 1.0]])
VALUES: tuple[Any, ...] = (*WHOLE, *FRACTIONS, *EXTREMES, *STRINGS, *MOMENTS, *OTHERS)

CELL = TypeAdapter(Cell)

Json = Any
Where = tuple[str | int, ...]


def shortened(record: Record, tokens: int = 24) -> Record:
    """A true record of fewer tokens, so that all that is done with it takes milliseconds."""
    known = json.loads(canonical_json(record.model_dump(mode="json", exclude={"record_id"})))
    for sample in (*known.get("warmups", ()), *known.get("samples", ())):
        for sequence in sample["sequences"]:
            del sequence["token_times_s"][tokens:]
            sequence["output_tokens"] = len(sequence["token_times_s"])
        sample["duration_s"] = max(max(one["token_times_s"], default=0.0) for one in sample["sequences"])
        if not sample.get("window"):
            known["cell"]["workload"]["generate_length"] = max(1, sample["sequences"][0]["output_tokens"])
    return parse(sealed(known))


def sealed(known: Json) -> bytes:
    """The bytes of a file of this evidence, with the ids that its content asks for.

    Where it is a record at all, they are what the tool itself would write.
    """
    with suppress(KeyError, TypeError, ValueError):  # no cell: it keeps the id that it had
        known["cell_id"] = CELL.validate_python(known["cell"]).cell_id
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for name, written in TEXTS.items():
        text = text.replace(f'"{name}"', written)
    evidence = text.encode(errors="surrogatepass")
    try:
        record = Record.model_validate_json(evidence)
    except (ValidationError, RecursionError):
        return _by_bytes(evidence)
    return serialize(seal(record))


def _by_bytes(evidence: bytes) -> bytes:
    return b'{"record_id":"sha256:%b",%b}\n' % (hashlib.sha256(evidence).hexdigest().encode(), evidence[1:-1])


@dataclass(frozen=True)
class Forged:
    """The file of a changed copy, of which record it is one, and what was changed."""

    number: int
    changed: str
    content: bytes


def later(record: Record, seconds: float = 1e5) -> Record:
    """The record of another measurement with the same figures."""
    moved = {
        name: tuple(
            one.model_copy(update={"started_at_unix_s": one.started_at_unix_s + seconds, "ended_at_unix_s": None})
            for one in getattr(record, name)
        )
        for name in ("warmups", "samples")
    }
    return seal(record.model_copy(update=moved))


class Forger:
    """Makes changed copies of `records`: most of them with one other value, some with several."""

    def __init__(self, records: Sequence[Record], seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - no secret
        self._texts = [canonical_json(one.model_dump(mode="json", exclude={"record_id"})) for one in records]
        self._places = [_places(json.loads(text)) for text in self._texts]

    def forge(self) -> Forged:
        """The next one."""
        number = self._dice.randrange(len(self._texts))
        known, said = json.loads(self._texts[number]), []
        for _ in range(self._dice.choice((1, 1, 1, 2, 4))):
            name = self._dice.choice(list(self._places[number]))
            where = self._dice.choice(self._places[number][name])
            value = self._dice.choice(_alike(_at(known, where)) if self._dice.random() < 0.5 else VALUES)
            if _put(known, where, value):
                said.append(f"{'.'.join(map(str, where))} = {str(value)[:40]!r}")
        return Forged(number, ", ".join(said), sealed(known))


def _places(known: Json) -> dict[str, list[Where]]:
    """Every value of a record, by its name without the indices: that a name is there often makes it no likelier."""
    found: dict[str, list[Where]] = defaultdict(list)
    for where in _walk(known, ()):
        found[".".join("#" if isinstance(part, int) else part for part in where)].append(where)
    return found


def _walk(value: Json, where: Where) -> Iterator[Where]:
    if where:
        yield where
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _walk(item, (*where, key))


def _at(known: Json, where: Where) -> Json:
    """The value there; None where an earlier change took the place away."""
    try:
        for part in where:
            known = known[part]
    except (IndexError, KeyError, TypeError):
        return None
    return known


def _alike(value: Json) -> Sequence[Json]:
    """Values that may stand in place of `value` more often than not."""
    match value:
        case bool():
            return (True, False)
        case int():
            return (*WHOLE[:8], value + 1, value // 2, 3 * value)
        case float():
            return (*FRACTIONS[:10], value / 1000, 1000 * value, -value)
        case str():
            return STRINGS
        case list():
            return ([], value[:1], value * 2, value[::-1])
        case _:
            return VALUES


def _put(known: Json, where: Where, value: Json) -> bool:
    """Put `value` there; False where an earlier change took the place away."""
    try:
        for part in where[:-1]:
            known = known[part]
        known[where[-1]] = value
    except (IndexError, KeyError, TypeError):
        return False
    return True


class Tally(fuzzing.Tally):
    """What became of forged records."""

    def take(self, changed: str, content: bytes, true: Judged, uses: Iterable[str]) -> None:
        """Do with a forged file what is done with a stranger's, beside a `true` record of the same cell."""
        self.counts["changed"] += 1
        try:
            record = parse(content)
        except DamagedRecordError:
            self.counts["damaged"] += 1
            return
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            self.failed("parse", error, changed[:200])
            return
        self.counts["parsed"] += 1
        try:
            forged = judged(record)
        except Exception as error:  # noqa: BLE001
            self.failed("judge", error, changed[:200])
            return
        for name in uses:
            try:
                USES[name](forged, true)
            except Exception as error:  # noqa: BLE001
                self.failed(name, error, changed[:200])


def _row(forged: Judged, _true: Judged) -> None:
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        entry = pool.entry(Found(Path("a.json"), "a.json", forged), language)
        made = pool.rows([entry], language, lambda _path: forged.record)
        document = documents.report(made, language, "qwen3")
        forms: tuple[Format, ...] = ("text", "csv", "json") if language == "en" else ("markdown", "rst")
        for form in forms:
            render(document, form)


def _page(forged: Judged, _true: Judged) -> None:
    entry = pool.entry(Found(Path("a.json"), "a.json", forged), "en")
    document = documents.report(pool.rows([entry], "en", lambda _path: forged.record), "en", "qwen2.5")
    render(document, "html")


def _pool(forged: Judged, true: Judged) -> None:
    """As if both were measured in the same cell, by the same, on the same machine."""
    there = {Path("a.json"): forged, Path("b.json"): true, Path("c.json"): true}
    entries = [pool.entry(Found(path, path.name, one), "en") for path, one in there.items()]
    pool.rows(entries, "en", lambda path: there[path].record)
    if forged.record.cell_id == true.record.cell_id:
        judged(pool.pooled([forged.record, true.record]))


def _compare(forged: Judged, true: Judged) -> None:
    sides = [measured(forged), measured(true)]
    for before, after in ((sides[0], sides[1]), (sides[1], sides[0]), (sides[0], sides[0])):
        compared = compare([before], [after], frozenset(("machine", "protocol")))
        if compared.cells:
            render(
                documents.comparison(compared, "en", "qwen2.5", Gate(0.03, Path("old"), Path("new"))),
                "csv" if before is after else "rst",
            )
        for cell in compared.cells:
            cell.regressed(0.03)


def _verify(forged: Judged, true: Judged) -> None:
    told = forged.judgement.model_dump(mode="json")
    stored = judgement(serialize(forged.record, told))
    differences(stored, told)
    differences(stored, true.judgement.model_dump(mode="json"))


def _reference(forged: Judged, _true: Judged) -> None:
    entry = pool.entry(Found(Path("a.json"), "a.json", forged), "en")
    render(
        documents.reference(pool.rows([entry], "en", lambda _path: forged.record), publication("qwen2.5"), "en"), "text"
    )


def _samples(form: str, forged: Judged, _true: Judged) -> None:
    WRITERS[form](iter([forged.record]), io.BytesIO())


def _resume(forged: Judged, _true: Judged) -> None:
    stored = of_judged(forged, Path("a.json"), is_new=False)
    assert stored.label
    assert stored.measured_at.astimezone()


USES: dict[str, Callable[[Judged, Judged], None]] = {
    "row": _row,
    "page": _page,
    "pool": _pool,
    "compare": _compare,
    "verify": _verify,
    "reference": _reference,
    "samples as jsonl": partial(_samples, "jsonl"),
    "samples as parquet": partial(_samples, "parquet"),
    "resume": _resume,
}


def try_all(records: Sequence[Record], count: int, seed: int, uses: Iterable[str] = tuple(USES)) -> Tally:
    """What becomes of `count` forged copies of `records`."""
    forger, true, tally = Forger(records, seed), [judged(later(one)) for one in records], Tally()
    for _ in range(count):
        forged = forger.forge()
        tally.take(forged.changed, forged.content, true[forged.number], uses)
    return tally
