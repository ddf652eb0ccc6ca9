"""Charts of rows, as Vega-Lite: the page and the static images draw the same ones."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from speed_benchmark.report.documents import Document
from speed_benchmark.report.layout import ENGINES
from speed_benchmark.report.rows import FORMATS, GIB, Row
from speed_benchmark.report.words import SPEED_FIELDS, WORDS

# Told apart by people who don't see red or green, and legible on white; the page has them again for dark.
COLOURS = {
    "BF16": "#1f5fb4",
    "FP16": "#4f7d8c",
    "FP32": "#6b7280",
    "GPTQ-Int8": "#b45f06",
    "GPTQ-Int4": "#b8336a",
    "AWQ": "#17805a",
}
OTHER_COLOUR = "#6d4fb0"
# For the first, second, … engine: the page's legend draws them too.
DASHES = ((1, 0), (4, 2), (2, 1), (1, 1), (1, 2, 4, 2))
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross")
Values = list[dict[str, Any]]


def values(document: Document) -> Values:
    """What the charts draw, one object a measured record, and one a published figure where there are any."""
    speed = SPEED_FIELDS[document.speed]
    beside = bool(document.published)
    own = [
        _value(
            row,
            getattr(row, speed),
            WORDS[document.language]["own_here"] if beside else ENGINES.get(row.engine, row.engine),
        )
        for row in document.rows
        if row.measured
    ]
    there = [
        {
            "model": found.model,
            "engine": found.engine,
            "quantization": found.quantization,
            "input_tokens": found.input_tokens,
            "style": WORDS[document.language]["published_there"],
            "series": f"published {found.engine} {found.quantization}",
            "speed": found.tokens_per_s,
            "low": found.tokens_per_s,
            "high": found.tokens_per_s,
            "memory_gib": found.memory_gib,
        }
        for found in dict.fromkeys(document.published)
    ]
    return [{name: value for name, value in point.items() if value is not None} for point in (*own, *there)]


def specs(document: Document, points: Values, colours: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Name -> Vega-Lite of each chart that `points` have something for; the data are named `rows`."""
    words = WORDS[document.language]
    lengths = sorted({point["input_tokens"] for point in points})
    styles = list(dict.fromkeys(point["style"] for point in points))
    formats = sorted({point["quantization"] for point in points}, key=_format_order)
    colour = alt.Color(
        "quantization:N",
        title=words["quantization"],
        scale=alt.Scale(domain=formats, range=[colours.get(name, colours["other"]) for name in formats]),
    )
    dash = alt.StrokeDash("style:N", scale=alt.Scale(domain=styles, range=list(DASHES)), legend=None)
    shape = alt.Shape(
        "style:N",
        title=words["source" if document.published else "engine"],
        scale=alt.Scale(domain=styles, range=list(SHAPES)),
    )
    axis = alt.Axis(values=lengths, format="d", labelOverlap="greedy", labelFlush=True, grid=False)
    across = alt.X("input_tokens:Q", title=words["axis_input"], axis=axis, scale=alt.Scale(type="sqrt", nice=False))
    base = alt.Chart(alt.NamedData("rows"))
    hover = {"content": "data"}

    def lines(up: alt.Y) -> alt.LayerChart | alt.FacetChart:
        line = base.mark_line(strokeWidth=1.75).encode(x=across, y=up, color=colour, strokeDash=dash, detail="series:N")
        point = base.mark_point(size=46, filled=True, opacity=1, tooltip=hover).encode(
            x=across, y=up, color=colour, shape=shape
        )
        return alt.layer(line, point)

    def linear(field: str, title: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=5))

    def logarithmic(fields: Sequence[str], title: str) -> alt.Y:
        steps = _steps([point[field] for point in points for field in fields if field in point])
        scale = alt.Scale(type="log", domain=[steps[0], steps[-1]], nice=False)
        return alt.Y(f"{fields[0]}:Q", title=title, scale=scale, axis=alt.Axis(values=steps, format="~g"))

    speeds = lines(linear("speed", words["axis_speed"]))
    interval = base.mark_rule(strokeWidth=1.25).encode(x=across, y="low:Q", y2="high:Q", color=colour)
    spread = (
        base.transform_flatten(["deviations"])
        .mark_tick(thickness=1.5, size=13, opacity=0.75, tooltip=hover)
        .encode(
            x=alt.X("deviations:Q", title=words["axis_percent"], axis=alt.Axis(tickCount=5)),
            y=alt.Y("row:N", title=None, sort=None, axis=alt.Axis(ticks=False, domain=False)),
            color=colour,
        )
    )
    column = alt.X(
        "input_tokens:O",
        title=words["axis_input"].partition("(")[0].partition("（")[0].strip(),
        axis=alt.Axis(labelAngle=0),
    )
    beside = alt.XOffset("row:N", sort=None)
    high = logarithmic(["p10", "p90"], words["axis_milliseconds"])
    between = alt.layer(
        base.mark_rule(strokeWidth=1.25, tooltip=hover).encode(
            x=column, xOffset=beside, y=high, y2="p90:Q", color=colour
        ),
        base.mark_rule(strokeWidth=5, tooltip=hover).encode(
            x=column, xOffset=beside, y="p25:Q", y2="p75:Q", color=colour
        ),
        base.mark_tick(thickness=2, width=11, orient="horizontal", opacity=1, tooltip=hover).encode(
            x=column, xOffset=beside, y="p50:Q", color=colour
        ),
    )
    drawn = {
        "speed": (alt.layer(interval, speeds), "speed"),
        "memory": (lines(linear("memory_gib", words["axis_memory"])), "memory_gib"),
        "roofline": (lines(linear("roofline", words["axis_share"])), "roofline"),
        "first_token": (
            lines(logarithmic(["first_token_ms"], words["axis_milliseconds"])),
            "first_token_ms",
        ),
        "repeats": (spread, "deviations"),
        "gaps": (between, "p50"),
        "energy": (lines(linear("joules", words["axis_joules"])), "joules"),
    }
    return {
        name: {**chart.to_dict(), "usermeta": {"field": field}}
        for name, (chart, field) in drawn.items()
        if any(field in point for point in points)
    }


def _value(row: Row, speed: float, style: str) -> dict[str, Any]:
    speeds = row.repeat_tokens_per_s
    mean = sum(speeds) / len(speeds) if speeds else 0
    generation = speed == row.generation_tokens_per_s
    percentiles = dict(zip(("p10", "p25", "p50", "p75", "p90"), row.inter_token_s, strict=False))
    return {
        "record_id": row.record_id,
        "model": row.model,
        "engine": row.engine,
        "quantization": row.quantization,
        "input_tokens": row.input_tokens,
        "style": style,
        # records that differ in more than the length of the input are no line
        "series": " ".join(
            (
                row.engine,
                row.quantization,
                str(row.gpu_count),
                row.machine,
                row.attention,
                row.execution,
                row.software,
                str(row.output_tokens),
            )
        ),
        "row": f"{ENGINES.get(row.engine, row.engine)} {row.quantization}",
        "speed": speed,
        # a bar of no length where there is no interval: an empty layer has no scale
        "low": (row.generation_tokens_per_s_low if generation else None) or speed,
        "high": (row.generation_tokens_per_s_high if generation else None) or speed,
        "memory_gib": row.memory_bytes / GIB if row.memory_bytes else None,
        "roofline": row.decode_bandwidth_share * 100 if row.decode_bandwidth_share else None,
        "joules": row.joules_per_token,
        "first_token_ms": row.time_to_first_token_s * 1000 if row.time_to_first_token_s else None,
        "deviations": [(value / mean - 1) * 100 for value in speeds] if len(speeds) > 1 else None,
        **{name: seconds * 1000 for name, seconds in percentiles.items()},
    }


def _steps(values: Sequence[float]) -> list[float]:
    """Steps of 1, 2 and 5 from just below the least of `values` to just above the greatest."""
    if not values:
        return [1, 10]
    low, high = math.floor(math.log10(min(values))), math.floor(math.log10(max(values)))
    steps = [float(f"{step}e{power}") for power in range(low, high + 2) for step in (1, 2, 5)]
    below = max(index for index, step in enumerate(steps) if step <= min(values))
    above = min(index for index, step in enumerate(steps) if step >= max(values))
    return steps[below : max(above, below + 1) + 1]


def _format_order(name: str) -> tuple[int, str]:
    return (FORMATS.index(name) if name in FORMATS else len(FORMATS), name)
