"""What a finding says and what to do about it, rendered from the catalogue `findings` of a language.

A message's id is the finding's code, with `.variant` where its values name one; the cure has `.cure` behind that. In
a text the values stand in braces, with a format of `str.format` or one of these, each with the number of its
significant digits (2 where none is given), never with an exponent: `digits`, `percent` of a share, `gib` of bytes.
A value that is a string stands for itself, unless the catalogue has `value.NAME.STRING`.
"""

import re
import string
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from speed_benchmark import texts
from speed_benchmark.judge.judgement import Finding, FindingValue

_FORMAT = re.compile(r"(digits|percent|gib)(\d*)")
_SCALES = {"digits": (1, ""), "percent": (100, " %"), "gib": (2**-30, " GiB")}


def text(finding: Finding, language: texts.Language) -> str:
    """What `finding` says; its code and its values where this version knows no such finding."""
    return _rendered(finding, "", language)


def cure(finding: Finding, language: texts.Language) -> str:
    """What to do about `finding`."""
    return _rendered(finding, ".cure", language)


def digits(value: float, count: int) -> str:
    """`value` to `count` significant digits, without an exponent."""
    return format(Decimal(f"{value:.{count}g}"), "f")


class _Formatter(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:  # noqa: ANN401 - as the base class has it
        """A value in its format."""
        found = _FORMAT.fullmatch(format_spec)
        if found is None:
            return str(super().format_field(value, format_spec))
        scale, unit = _SCALES[found[1]]
        return digits(scale * value, int(found[2] or 2)) + unit


def _rendered(finding: Finding, kind: str, language: texts.Language) -> str:
    catalogue = texts.catalogue(language, "findings")
    if f"{finding.message_id}.cure" in catalogue:
        with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # another version's values
            return _Formatter().vformat(catalogue[finding.message_id + kind], (), _words(finding.values, catalogue))
    told = ", ".join(f"{name}={value}" for name, value in finding.values.items())
    return _Formatter().vformat(catalogue[f"unknown{kind}"], (), {"code": finding.code, "values": told})


def _words(values: Mapping[str, FindingValue], catalogue: Mapping[str, str]) -> dict[str, FindingValue]:
    """`values` in the words of a language."""
    return {
        name: catalogue.get(f"value.{name}.{value}", value) if isinstance(value, str) else value
        for name, value in values.items()
    }
