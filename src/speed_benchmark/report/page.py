"""The page: one HTML file that asks nothing of the network, and in which nothing of a record can run.

Jinja escapes every text; data for the script are JSON with `<`, `>`, `&` and `'` escaped; the content security policy
lets run only the two scripts whose hashes it names, and no other request leaves.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from speed_benchmark.errors import UserError
from speed_benchmark.record import formats
from speed_benchmark.report.columns import SCALES, Column, Place, distinct
from speed_benchmark.report.documents import Document
from speed_benchmark.report.rows import Row, natural, shown_columns
from speed_benchmark.report.words import Words, words

# A page with more small charts than this is neither quick nor read; the filter shows the others.
MODELS_SHOWN = 12
# The outlines of charts.SHAPES, for the legend.
_MARKS = (
    "M17 6m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
    "M17 2l4 4l-4 4l-4-4z",
    "M14 3h6v6h-6z",
    "M17 2l4 7h-8z",
    "M14 5h6v2h-6z",
)


def html(document: Document) -> str:
    """`document` as a page; raises UserError where the chart library is not installed."""
    try:
        from speed_benchmark.report import charts
    except ImportError:
        raise missing("--format", "html") from None
    said, points = words(document.language), charts.values(document)
    specs = charts.specs(document, points, _colour)
    quantizations = sorted({row.quantization for row in document.rows if row.measured}, key=formats.order)
    styles = list(dict.fromkeys(point["style"] for point in points))
    setup = {"words": said, "specs": specs, "sections": list(specs), "limit": MODELS_SHOWN}
    page: str = _template().render(
        language=document.language,
        title=document.title,
        intro=document.intro,
        words=said,
        css=_resource("page.css") + _shades(),
        scripts=(_vega(), _resource("page.js")),
        filters=_filters(document.rows, said),
        sections=list(specs),
        formats=[(name, _colour(name)) for name in quantizations],
        styles=[
            (style, " ".join(map(str, dash)), mark)
            for style, dash, mark in zip(styles, charts.DASHES, _MARKS, strict=False)
        ],
        tables=document.tables,
        setup=setup | {"columns": _columns(document.rows, said)},
        rows=[_compact(row.values) for row in document.rows],
        points=points,
    )
    return page


def missing(option: str, value: object) -> UserError:
    """The error for a chart asked for where the libraries for charts are not installed."""
    return UserError(option, value, "needs Vega-Altair; install the extra: pip install 'speed-benchmark[report]'")


@cache
def _template() -> Any:  # noqa: ANN401 - jinja2.Template, whose stubs make render Any as well
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["trusted"] = Markup  # only ever given this package's own files
    environment.filters["source_hash"] = _source_hash
    return environment.from_string(_resource("page.html.jinja"))


@cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, as vl-convert brings them along."""
    try:
        import vl_convert
    except ImportError:
        raise missing("--format", "html") from None
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _columns(rows: Sequence[Row], said: Words) -> list[dict[str, object]]:
    """The columns of the page, as its script reads them, with the places that show them."""
    values = [row.values for row in rows]
    return [
        {
            "name": column.name,
            "label": column.heading(said),
            "scale": SCALES.get(column.unit, 1.0),
            "digits": column.digits,
            "numeric": column.numeric,
            "worded": column.worded,
            "zero": column.zero,
            "to": column.to,
            "places": [place for place in ("page", "details") if _is_shown(column, place, values, said)],
        }
        for column in shown_columns(rows)
    ]


def _is_shown(column: Column, place: Place, values: Sequence[Mapping[str, object]], said: Words) -> bool:
    """Whether the rows have something to say in a column at `place`."""
    if place not in column.where:
        return False
    texts = (column.text(one, said) for one in values)
    return distinct(list(texts)) if place in column.varies else any(texts)


def _filters(rows: Sequence[Row], said: Words) -> list[tuple[str, str, list[str]]]:
    """Name, label and choices of each filter."""
    labels = {"model": "model", "engine": "engine", "quantization": "format"}
    return [
        (name, said[label], sorted({getattr(row, name) for row in rows}, key=natural)) for name, label in labels.items()
    ]


def _colour(name: str) -> str:
    """The variable of the style sheet that holds the colour of a weight format."""
    return f"var(--{(name if name in formats.FORMATS else formats.OTHER.name).lower()})"


def _shades() -> str:
    """The part of the style sheet that sets those variables, for light screens and paper, and for dark screens."""
    known = (*formats.FORMATS.values(), formats.OTHER)
    light, dark = (
        " ".join(f"--{one.name.lower()}: {shade};" for one, shade in zip(known, shades, strict=True))
        for shades in ([one.light for one in known], [one.dark for one in known])
    )
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def _source_hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _resource(name: str) -> str:
    return (files("speed_benchmark.report") / name).read_text(encoding="utf-8")


def _compact(row: dict[str, object]) -> dict[str, object]:
    """What a row has to say; a 0 is a figure."""
    return {name: value for name, value in row.items() if (value == 0 and value is not False) or value}
