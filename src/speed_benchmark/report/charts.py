"""Charts of rows, as Vega-Lite: the page and the static images draw the same ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from speed_benchmark.engines import registry
from speed_benchmark.record import formats
from speed_benchmark.report.columns import Column, columns
from speed_benchmark.report.documents import Document
from speed_benchmark.report.reference import Published
from speed_benchmark.report.rows import Row
from speed_benchmark.report.words import SPEED_FIELDS, Words, words

# For the first, second, … engine: the page's legend draws them too.
DASHES = ((1, 0), (4, 2), (2, 1), (1, 1), (1, 2, 4, 2))
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross")
# A chart of each of these columns against the length of the input: name -> column, and whether it is logarithmic.
LINES = {
    "memory": ("memory_bytes", False),
    "roofline": ("mbu", False),
    "first_token": ("time_to_first_token_s", True),
    "energy": ("per_generated_token_joules", False),
}
# The order in which they are drawn.
CHARTS = ("speed", "memory", "roofline", "first_token", "repeats", "gaps", "energy")
PERCENTILES = ("p10", "p25", "p50", "p75", "p90")
_HOVER = {"content": "data"}
# One object, so that the layers of a chart share its data: a facet divides what is above them.
_BASE = alt.Chart(alt.NamedData("rows"))
Values = list[dict[str, Any]]


def values(document: Document) -> Values:
    """What the charts draw, one object a measured record, and one a published figure where there are any."""
    said, speed = words(document.language), SPEED_FIELDS[document.speed]
    own = said["own_here"] if document.published else ""
    measured = [row for row in document.rows if row.measured]
    points = [_point(row, getattr(row, speed), own or registry.title(row.engine)) for row in measured]
    points += [_published_point(found, said) for found in dict.fromkeys(document.published)]
    return [{name: value for name, value in point.items() if value is not None} for point in points]


def specs(document: Document, points: Values, colour: Callable[[str], str]) -> dict[str, dict[str, Any]]:
    """Name -> Vega-Lite of each chart that `points` have something for; the data are named `rows`.

    `colour` gives that of a weight format.
    """
    return _Drawing(document, points, colour).drawn()


@dataclass(frozen=True)
class _Drawing:
    """The charts of one document."""

    document: Document
    points: Values
    colour: Callable[[str], str]

    def drawn(self) -> dict[str, dict[str, Any]]:
        """Name -> Vega-Lite, of the charts that have a point."""
        fields = {"speed": "speed", "repeats": "deviations", "gaps": "p50"}
        fields |= {name: field for name, (field, _) in LINES.items()}
        return {
            name: {**self._chart(name).to_dict(), "usermeta": {"field": fields[name]}}
            for name in CHARTS
            if any(fields[name] in point for point in self.points)
        }

    def _chart(self, name: str) -> alt.LayerChart | alt.FacetChart | alt.Chart:
        match name:
            case "speed":
                return self._speed()
            case "repeats":
                return self._repeats()
            case "gaps":
                return self._gaps()
        field, logarithmic = LINES[name]
        unit = next(column.unit for column in _chart_columns() if column.name == field)
        return self._lines(_logarithmic([field], unit, self.points) if logarithmic else _linear(field, unit))

    @property
    def _said(self) -> Words:
        return words(self.document.language)

    @property
    def _colour(self) -> alt.Color:
        names = sorted({point["quantization"] for point in self.points}, key=formats.order)
        scale = alt.Scale(domain=names, range=list(map(self.colour, names)))
        return alt.Color("quantization:N", title=self._said["quantization"], scale=scale)

    @property
    def _across(self) -> alt.X:
        lengths = sorted({point["context_length"] for point in self.points})
        axis = alt.Axis(values=lengths, format="d", labelOverlap="greedy", labelFlush=True, grid=False)
        scale = alt.Scale(type="sqrt", nice=False)
        return alt.X("context_length:Q", title=self._said["axis_input"], axis=axis, scale=scale)

    def _lines(self, up: alt.Y) -> alt.LayerChart | alt.FacetChart:
        styles = list(dict.fromkeys(point["style"] for point in self.points))
        dash = alt.StrokeDash("style:N", scale=alt.Scale(domain=styles, range=list(DASHES)), legend=None)
        title = self._said["source" if self.document.published else "engine"]
        shape = alt.Shape("style:N", title=title, scale=alt.Scale(domain=styles, range=list(SHAPES)))
        across, colour = self._across, self._colour
        line = _BASE.mark_line(strokeWidth=1.75).encode(
            x=across, y=up, color=colour, strokeDash=dash, detail="series:N"
        )
        point = _BASE.mark_point(size=46, filled=True, opacity=1, tooltip=_HOVER).encode(
            x=across, y=up, color=colour, shape=shape
        )
        return alt.layer(line, point)

    def _speed(self) -> alt.LayerChart | alt.FacetChart:
        interval = _BASE.mark_rule(strokeWidth=1.25).encode(x=self._across, y="low:Q", y2="high:Q", color=self._colour)
        return alt.layer(interval, self._lines(_linear("speed", "tokens/s")))

    def _repeats(self) -> alt.Chart:
        marks = _BASE.transform_flatten(["deviations"]).mark_tick(thickness=1.5, size=13, opacity=0.75, tooltip=_HOVER)
        chart: alt.Chart = marks.encode(
            x=alt.X("deviations:Q", title=self._said["axis_deviation"], axis=alt.Axis(tickCount=5)),
            y=alt.Y("row:N", title=None, sort=None, axis=alt.Axis(ticks=False, domain=False)),
            color=self._colour,
        )
        return chart

    def _gaps(self) -> alt.LayerChart | alt.FacetChart:
        column = alt.X("context_length:O", title=self._said["axis_length"], axis=alt.Axis(labelAngle=0))
        beside, colour = alt.XOffset("row:N", sort=None), self._colour
        high = _logarithmic(["p10", "p90"], "ms", self.points)
        return alt.layer(
            _BASE.mark_rule(strokeWidth=1.25, tooltip=_HOVER).encode(
                x=column, xOffset=beside, y=high, y2="p90:Q", color=colour
            ),
            _BASE.mark_rule(strokeWidth=5, tooltip=_HOVER).encode(
                x=column, xOffset=beside, y="p25:Q", y2="p75:Q", color=colour
            ),
            _BASE.mark_tick(thickness=2, width=11, orient="horizontal", opacity=1, tooltip=_HOVER).encode(
                x=column, xOffset=beside, y="p50:Q", color=colour
            ),
        )


def _point(row: Row, speed: float, style: str) -> dict[str, Any]:
    speeds = row.repeat_tokens_per_s
    mean = sum(speeds) / len(speeds) if speeds else 0
    generation = speed == row.generation_tokens_per_s
    # records that differ in more than the length of the input are no line
    unlike = (row.engine, row.quantization, row.gpu_count, row.batch_size, row.machine, row.attention_implementation)
    return {
        "record_id": row.record_id,
        "model": row.model,
        "engine": row.engine,
        "quantization": row.quantization,
        "context_length": row.context_length,
        "style": style,
        "series": " ".join(map(str, (*unlike, row.execution, row.software, row.generate_length))),
        "row": " ".join(filter(None, (registry.title(row.engine), row.quantization))),
        "speed": speed,
        # a bar of no length where there is no interval: an empty layer has no scale
        "low": (row.generation_tokens_per_s_low if generation else None) or speed,
        "high": (row.generation_tokens_per_s_high if generation else None) or speed,
        "deviations": [(value / mean - 1) * 100 for value in speeds] if len(speeds) > 1 else None,
        **{name: seconds * 1000 for name, seconds in zip(PERCENTILES, row.inter_token_s, strict=False)},
        **{column.name: _scaled(row, column) for column in _chart_columns()},
    }


def _published_point(found: Published, said: Words) -> dict[str, Any]:
    return {
        "model": found.model,
        "engine": found.engine,
        "quantization": found.quantization,
        "context_length": found.context_length,
        "style": said["published_there"],
        "series": f"published {found.engine} {found.quantization}",
        "speed": found.tokens_per_s,
        "low": found.tokens_per_s,
        "high": found.tokens_per_s,
        "memory_bytes": found.memory_gib,
    }


def _chart_columns() -> list[Column]:
    return [column for column in columns(Row) if "chart" in column.where]


def _scaled(row: Row, column: Column) -> float | None:
    """The value of a column in its unit; None where there is none, and of 0, which has no logarithm."""
    value: float | None = getattr(row, column.name)
    return column.scaled(value) if value else None


def _linear(field: str, title: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=5))


def _logarithmic(fields: Sequence[str], title: str, points: Values) -> alt.Y:
    steps = _steps([point[field] for point in points for field in fields if field in point])
    scale = alt.Scale(type="log", domain=[steps[0], steps[-1]], nice=False)
    return alt.Y(f"{fields[0]}:Q", title=title, scale=scale, axis=alt.Axis(values=steps, format="~g"))


def _steps(values: Sequence[float]) -> list[float]:
    """Steps of 1, 2 and 5 from just below the least of `values` to just above the greatest."""
    if not values:
        return [1, 10]
    low, high = math.floor(math.log10(min(values))), math.floor(math.log10(max(values)))
    steps = [float(f"{step}e{power}") for power in range(low, high + 2) for step in (1, 2, 5)]
    below = max(index for index, step in enumerate(steps) if step <= min(values))
    above = min(index for index, step in enumerate(steps) if step >= max(values))
    return steps[below : max(above, below + 1) + 1]
