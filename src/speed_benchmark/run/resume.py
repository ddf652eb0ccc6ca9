"""What of a sweep is there already, what of the store is passed over and why, and what is missing."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path

from speed_benchmark.cell import Cell, Model
from speed_benchmark.engines import registry
from speed_benchmark.judge.agreement import Answer, Answers, answer
from speed_benchmark.judge.judgement import Verdict
from speed_benchmark.judge.reading import judge_stored
from speed_benchmark.machine import describe
from speed_benchmark.models import source
from speed_benchmark.parallel import parallel_map
from speed_benchmark.record.folder import content_of, record_files
from speed_benchmark.record.format import DamagedRecordError, parse
from speed_benchmark.record.machine import Machine
from speed_benchmark.record.outcome import LASTING, Outcome
from speed_benchmark.record.record import MEASUREMENT_VERSION, Record
from speed_benchmark.record.store import Store
from speed_benchmark.run.plan import LoadGroup
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.provenance import installed
from speed_benchmark.run.stored import Stored, of_judged

_CELL_ID = re.compile(rb'"cell_id":"(sha256:[0-9a-f]{64})"')

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Survey:
    """What a store holds for a sweep.

    `found` are the records that answer for its cells, at most as many for each as there are rounds. `passed_over` are
    the reasons why others don't, and of how many. `answers` are the greedy answers of all records, None where no cell
    of the sweep needs them. `folder` is where the store is.
    """

    found: tuple[Stored, ...]
    passed_over: Mapping[str, int]
    answers: Answers | None
    folder: Path | None = None

    def lines(self) -> Iterator[str]:
        """A sentence for each reason."""
        for reason, count in self.passed_over.items():
            yield f"{count} record{'s' if count > 1 else ''} passed over: {reason}"


def survey(groups: Sequence[LoadGroup], store: Store, policy: Policy, on_progress: OnProgress) -> Survey:
    """Look through `store` once for what it holds for the cells of `groups`.

    `on_progress(what, done_bytes, total_bytes)` is called while weights are hashed.
    """
    conditions = _Conditions(groups, policy, on_progress)
    greedy = any(cell.workload.sampling == "greedy" for group in groups for cell in group.cells)
    if policy.retry == "all" and not greedy:
        return Survey((), {}, None, store.folder)
    wanted = frozenset(conditions.cells) if policy.retry != "all" else frozenset()
    answers = Answers() if greedy else None
    candidates, passed_over = [], Counter[str]()
    for found in _found(store.folder, wanted, everything=greedy):
        if answers is not None:
            answers.add(found.answer)
        if found.stored is None or conditions.is_asked_again(found.stored):
            continue
        reason = conditions.objection(found.record)
        if reason is None:
            candidates.append(found.stored)
        else:
            passed_over[reason] += 1
    return Survey(tuple(_best(candidates, policy.rounds)), passed_over, answers, store.folder)


def answers_in(folder: Path) -> Answers:
    """The greedy answers of all records below `folder`."""
    answers = Answers()
    for found in _found(folder, frozenset(), everything=True):
        answers.add(found.answer)
    return answers


def missing(groups: Sequence[LoadGroup], found: Sequence[Stored], rounds: int) -> Iterator[LoadGroup]:
    """What is left of `groups` until each cell has been measured `rounds` times, one round after the other."""
    done = Counter(stored.cell_id for stored in found)
    for number in range(rounds):
        for group in groups:
            left = tuple(cell for cell in group.cells if done[cell.cell_id] <= number)
            if left:
                yield replace(group, cells=left)


def summary(found: Sequence[Stored], asked: int) -> str:
    """The sentence that says how much of what is `asked` is stored already, and how it came out."""
    counts = Counter(stored.label if len(found) == 1 else _word(stored) for stored in found)
    how = ", ".join(word if len(found) == 1 else f"{count} {word}" for word, count in counts.items())
    moments = sorted(stored.measured_at for stored in found)
    when = " to ".join(dict.fromkeys(map(_shown, (moments[0], moments[-1]))))
    left = asked - len(found)
    rest = f"{left} to measure" if left else f"nothing to do; --retry {_retry(found)} measures again"
    return f"stored already: {len(found)} of {asked} (measured {when}, {how}); {rest}"


class _Conditions:
    """What a stored record must be like to answer for a cell of a sweep; `cells` are these, by their ids."""

    def __init__(self, groups: Sequence[LoadGroup], policy: Policy, on_progress: OnProgress) -> None:
        self.cells = {cell.cell_id: cell for group in groups for cell in group.cells}
        self._gpus = {cell.cell_id: group.gpus for group in groups for cell in group.cells}
        self._policy = policy
        self._machine: Callable[[tuple[int, ...]], Machine] = cache(describe.describe)
        self._digest = cache(lambda model: source.weights_digest(model, on_progress))

    def is_asked_again(self, stored: Stored) -> bool:
        """Whether the user asks for another measurement, whatever this one is worth."""
        if stored.outcome is Outcome.SKIPPED and self._policy.no_skip:
            return True
        match self._policy.retry:
            case "failed":
                return stored.outcome is not Outcome.OK or stored.verdict is Verdict.INVALID
            case "doubtful":
                return stored.outcome is Outcome.OK and stored.verdict is not Verdict.VALID
        return False

    def objection(self, record: Record) -> str | None:
        """Why `record` does not answer for its cell, None where it does."""
        if record.outcome is not Outcome.OK and record.outcome not in LASTING:
            return str(record.outcome)
        return self._machine_objection(record) or self._version_objection(record) or self._weights_objection(record)

    def _machine_objection(self, record: Record) -> str | None:
        if "other-machines" in self._policy.accepted:
            return None
        difference = describe.difference(record.machine, self._machine(self._gpus[record.cell_id]))
        return f"measured on another machine, {difference} here" if difference else None

    def _version_objection(self, record: Record) -> str | None:
        if "other-versions" in self._policy.accepted:
            return None
        there, here = record.provenance, installed(_packages(record.cell))
        if there.measurement_version != MEASUREMENT_VERSION:
            return f"speed-benchmark {there.tool_version} measured otherwise than this version does"
        for name in _packages(record.cell):
            if there.packages.get(name) != here.get(name):
                return f"measured with {_version(name, there.packages)}, here is {_version(name, here)}"
        return None

    def _weights_objection(self, record: Record) -> str | None:
        measured = record.checkpoint.weights_digest if record.checkpoint else None
        if measured is None:
            return None
        model: Model = self.cells[record.cell_id].model
        here = self._digest(model)
        return None if here in (None, measured) else f"other weights than {model.model_id_or_path} has now"


@dataclass(frozen=True)
class _Found:
    """What is kept of a sound record: `record` is without its requests, `stored` is None where no cell wants it."""

    record: Record
    stored: Stored | None
    answer: Answer | None


def _found(folder: Path, wanted: frozenset[str], *, everything: bool) -> Iterator[_Found]:
    """The records below `folder`, each once: of the cells that are `wanted`, or `everything`."""
    seen: set[str] = set()
    look = partial(_look, wanted=wanted, everything=everything)
    for found in parallel_map(look, list(record_files(folder))):
        if found is not None and found.record.record_id not in seen:
            seen.add(found.record.record_id)
            yield found


def _look(path: Path, wanted: frozenset[str], *, everything: bool) -> _Found | None:
    """What is in one file, None where nobody asks for it or it is no sound record: `verify` and `report` name that.

    The judgement in the file is not asked: it may be of older rules, and nothing vouches for it.
    """
    try:
        content = content_of(path)
        cell_id = _CELL_ID.search(content)
        is_wanted = cell_id is not None and cell_id[1].decode() in wanted
        if not is_wanted and not everything:
            return None
        record = parse(content)
        stored = of_judged(judge_stored(record), path, is_new=False) if is_wanted else None
    except DamagedRecordError:
        return None
    return _Found(record.model_copy(update={"samples": (), "warmups": ()}), stored, answer(record))


def _best(candidates: Sequence[Stored], rounds: int) -> Iterator[Stored]:
    """At most `rounds` of each cell: those that ran to their end before those that failed, the newest first."""
    wanted: Counter[str] = Counter()
    newest_first = sorted(candidates, key=lambda stored: stored.created_at, reverse=True)
    for stored in sorted(newest_first, key=lambda stored: stored.outcome is not Outcome.OK):
        wanted[stored.cell_id] += 1
        if wanted[stored.cell_id] <= rounds:
            yield stored


def _packages(cell: Cell) -> tuple[str, ...]:
    return registry.settings_class(cell.settings.engine).traits.packages


def _version(name: str, packages: Mapping[str, str]) -> str:
    return f"{name} {packages[name]}" if name in packages else f"no {name}"


def _word(stored: Stored) -> str:
    return str(stored.verdict if stored.outcome is Outcome.OK else stored.outcome)


def _shown(moment: datetime) -> str:
    """The time of day where it is today's, else the date."""
    today = moment.date() == datetime.now(moment.tzinfo).date()
    return f"{moment:%H:%M}" if today else f"{moment:%Y-%m-%d}"


def _retry(found: Sequence[Stored]) -> str:
    """What to retry, as what is worst in `found` suggests."""
    if any(stored.outcome is not Outcome.OK or stored.verdict is Verdict.INVALID for stored in found):
        return "failed"
    return "doubtful" if any(stored.verdict is not Verdict.VALID for stored in found) else "all"
