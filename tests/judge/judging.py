"""Changing records and judging them again; what is found."""

import string
from collections.abc import Callable
from typing import Any, get_args

from speed_benchmark.judge.judge import judged
from speed_benchmark.judge.judgement import Finding, Judged, Summary
from speed_benchmark.judge.rules import RULES
from speed_benchmark.record.record import Record
from speed_benchmark.texts import Language, catalogue

Make = Callable[..., Judged]
Said = tuple[str, Any]

LANGUAGES: tuple[Language, ...] = get_args(Language)
MESSAGES = {rule.code: rule.message_ids for rule in RULES}


def placeholders(text: str) -> set[str]:
    """The names of the values that stand in a text of the catalogue."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def checked(record: Record) -> Judged:
    """`record`, judged; each finding has its texts, and the values that stand in them."""
    found = judged(record)
    for finding in found.judgement.findings:
        _check(finding)
    return found


def _check(finding: Finding) -> None:
    assert finding.message_id in MESSAGES[finding.code]
    for language in LANGUAGES:
        for kind in ("", ".cure"):
            assert placeholders(catalogue(language, "findings")[finding.message_id + kind]) <= finding.values.keys()


def again(before: Judged, **changed: Any) -> Judged:
    """The record with these fields instead, judged again."""
    return checked(before.record.model_copy(update=changed))


def with_samples(before: Judged, *samples: dict[str, Any], **changed: Any) -> Judged:
    """The record with these fields in its first samples and `changed` in itself, judged again."""
    old = before.record.samples
    new = [sample.model_copy(update=update) for sample, update in zip(old, samples, strict=False)]
    return again(before, samples=(*new, *old[len(new) :]), **changed)


def with_second(before: Judged, **changed: Any) -> Judged:
    """The record with these fields in its second sample, or in its only sequence, judged again."""
    second = before.record.samples[1]
    (sequence,) = second.sequences
    of_sequence = {key: changed.pop(key) for key in list(changed) if key in type(sequence).model_fields}
    return with_samples(before, {}, {"sequences": (sequence.model_copy(update=of_sequence),)} | changed)


def said(found: Judged, code: str) -> list[Said]:
    """Severity and values of the findings with this code."""
    return [(str(one.severity), one.values) for one in found.judgement.findings if one.code == code]


def codes(found: Judged) -> list[str]:
    """The codes of all findings."""
    return [finding.code for finding in found.judgement.findings]


def summary_of(found: Judged) -> Summary:
    """The summary, which must be there."""
    assert found.judgement.summary is not None
    return found.judgement.summary
