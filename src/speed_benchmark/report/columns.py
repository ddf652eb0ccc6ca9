"""How the fields of a row are shown: declared once, beside each field, for tables, page, charts and data files.

A class of rows annotates its fields: `mbu: Annotated[float | None, Column(unit="%", digits=1, where=PAGE)] = None`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

from speed_benchmark.record.base import Frozen
from speed_benchmark.report.words import Words

# report: the tables of a report. run: the table after a run. page: the page's table of all records. details: all that
# the page says of one record. chart: what the charts draw.
Place = Literal["report", "run", "page", "details", "chart"]
Unit = Literal["", "tokens/s", "GiB", "ns", "ms", "s", "%", "J"]
SCALES: dict[Unit, float] = {"GiB": 2.0**-30, "ns": 1e9, "ms": 1000.0, "%": 100.0}


@dataclass(frozen=True, kw_only=True)
class Column:
    """How one field is shown.

    `label` is the id of its heading in the catalogue, the field's name where none is given; `unit` is what its figures
    are scaled to, and stands in the heading; `digits` are those after the point. `where` names the places that show it,
    `varies` those of them that show it only where its rows differ; where they don't, a report says it above the table:
    as label and value, or as the text `said` (an id; "bare": the value alone), in the order of `rank`.
    `zero` is the id of what stands in place of 0, `to` the field that holds the upper end of an interval that begins
    here. `worded` values are ids `name.value` of the catalogue, where it has them.
    """

    name: str = ""
    label: str = ""
    unit: Unit = ""
    digits: int | None = None
    where: tuple[Place, ...] = ()
    varies: tuple[Place, ...] = ()
    said: str = ""
    rank: int = 0
    zero: str = ""
    to: str = ""
    worded: bool = False
    numeric: bool = False

    def heading(self, words: Words) -> str:
        """What stands above the column: options of engines without a text of their own go by their name."""
        label = words.get(self.label or self.name, self.name)
        return f"{label} ({self.unit})" if self.unit else label

    def scaled(self, value: float) -> float:
        """`value` in the column's unit."""
        return value * SCALES.get(self.unit, 1.0)

    def text(self, values: Mapping[str, object], words: Words) -> str:
        """What a row of `values` shows in this column; empty where it has nothing."""
        first = self._text(values.get(self.name), words)
        if not self.to or not first:
            return first
        return words["range"].format(low=first, high=self._text(values.get(self.to), words))

    def sentence(self, value: str, words: Words) -> str:
        """What is said above a table of the `value` that all its rows share."""
        if self.said == "bare":
            return value
        return words[self.said or "label"].format(label=self.heading(words), value=value)

    def _text(self, value: Any, words: Words) -> str:  # noqa: ANN401 - any field's
        if isinstance(value, list | tuple):
            return (words["comma"] if self.digits is not None else " · ").join(
                self._text(item, words) for item in value
            )
        if value is None or value is False:
            return ""
        if value is True:
            return words["yes"]
        if value == 0 and self.zero:
            return words[self.zero]
        if self.digits is not None:
            return f"{self.scaled(value):.{self.digits}f}"
        return words.get(f"{self.name}.{value}", str(value)) if self.worded else str(value)


@cache
def columns(rows: type[Frozen]) -> tuple[Column, ...]:
    """The columns that a class of rows declares, in the order of its fields."""
    return tuple(
        replace(column, name=name, numeric=column.numeric or _is_number(field.annotation))
        for name, field in rows.model_fields.items()
        for column in field.metadata
        if isinstance(column, Column)
    )


def option_columns(options: Sequence[Mapping[str, object]], template: Column) -> list[Column]:
    """A column like `template` for each option that any of the rows has, in the order in which they come."""
    names = dict.fromkeys(name for row in options for name in row)
    return [
        replace(template, name=name, numeric=all(_is_figure(row[name]) for row in options if name in row))
        for name in names
    ]


def distinct(texts: Sequence[str]) -> bool:
    """Whether `texts` differ."""
    return len(set(texts)) > 1


def _is_number(annotation: Any) -> bool:  # noqa: ANN401 - a type
    kinds = get_args(annotation) or (annotation,)
    return any(kind in (int, float) for kind in kinds)


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
