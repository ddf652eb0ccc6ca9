"""The charts as static images, drawn without a browser."""

import os
from pathlib import Path
from typing import Any

from speed_benchmark.errors import UserError
from speed_benchmark.record import formats
from speed_benchmark.report.documents import Document
from speed_benchmark.report.page import missing
from speed_benchmark.report.words import words
from speed_benchmark.terminal import printable

PIXELS_PER_POINT = 2


def draw(document: Document, folder: Path) -> None:
    """Write every chart of `document` to `folder`, as NAME.svg and NAME.png; one panel a model.

    Raises UserError where the chart library is not installed or the folder can't be written.
    """
    try:
        import vl_convert

        from speed_benchmark.report import charts
    except ImportError:
        raise missing("--plots", folder) from None
    said = words(document.language)
    points = [_printable(point) for point in charts.values(document)]
    for name, spec in charts.specs(document, points, lambda quantization: formats.named(quantization).light).items():
        field = spec["usermeta"]["field"]
        whole = {
            "$schema": spec.pop("$schema"),
            "title": said[f"chart_{name}"],
            "datasets": {"rows": [point for point in points if field in point]},
            "data": {"name": "rows"},
            "facet": {"field": "model", "type": "nominal", "title": None},
            "columns": 2,
            "spec": _panel(spec, len({point.get("row") for point in points}) if name == "repeats" else 0),
            "resolve": {"scale": {"y": "independent"}},
            "config": {"view": {"stroke": None}, "axis": {"gridColor": "#dfe3e9"}, "background": "white"},
        }
        svg = vl_convert.vegalite_to_svg(whole)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
            (folder / f"{name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=PIXELS_PER_POINT))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UserError("--plots", folder, f"can't be written ({reason}); name another folder") from None


def _printable(point: dict[str, Any]) -> dict[str, Any]:
    """`point` without characters that XML has not, and a file would be none with."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in point.items()}


def _panel(spec: dict[str, object], strips: int) -> dict[str, object]:
    """One model's chart, without the data, which all panels share."""
    kept = {name: value for name, value in spec.items() if name not in ("usermeta", "config", "datasets", "data")}
    return kept | {"width": 360, "height": 22 * strips or 220}
