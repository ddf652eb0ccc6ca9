"""Records of somebody who means harm: the same text wherever the schema lets a text be anything."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from speed_benchmark.record.format import seal
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.outcome import Cause
from speed_benchmark.record.record import Agreement, Checkpoint, Profile, Provenance, Record
from tests.report.made import measured, vary

# What terminals, reStructuredText, Markdown, HTML, spreadsheets and `str.format` would obey.
TEXTS = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\x7f\r\nforged",
    "\n\n.. include:: /etc/hostname\n\n",
    ".. raw:: html",
    ":sub:`x` |y| `z <http://example.org>`_ [1]_ w_ http://example.org",
    "- x",
    "1. x",
    "\\",
    "| +---+",
    "a\u0301::",
    "</script><script>window.hacked = 1</script><img src=x onerror=alert(1)>",
    "![x](http://example.org) [y](javascript:z) $x$ # | *a* <b>",
    '=HYPERLINK("http://example.org")',
    "\t+1",
    "{0.__class__} {x} %s [bold]red[/bold] :smile:",
)

Where = tuple[str | int, ...]


def marred(text: str, keep: Sequence[str] = ()) -> list[Record]:
    """A record of a cell that ran and of one that did not, with `text` for all their texts but those called `keep`."""
    return [_marred(one, text, keep) for one in _whole()]


def _whole() -> list[Record]:
    """Records that have every text that one can have."""
    seen = measured()
    ok, oom = (vary(seen[name], gpus=1, input_tokens=1) for name in ("ok", "oom"))
    assert ok.loaded
    reasons = {"quantization_kernels": ("x",), "reasons": ("x",), "kv_cache_dtype": "x"}
    told: dict[str, Any] = {
        "loaded": ok.loaded.model_copy(update=reasons),
        "checkpoint": Checkpoint(source="local", commit="x", quantization="BF16"),
        "agreement": Agreement(engine="x", record_id="", compared=2, agreed=1),
        "busy": ("x",),
        "profile": Profile(error="x"),
        "device_peaks": DevicePeaks(device="x", bandwidths=((1, 1.0),), flops_per_s=1.0, matrix_dtype="x", torch="x"),
        "provenance": Provenance(
            tool_version="x",
            git_commit="x",
            command=("x",),
            python="x",
            packages={"torch": "x", "transformers": "x", "vllm": "x"},
            environment={"OMP_NUM_THREADS": "x"},
        ),
    }
    cause = Cause(message="x", stage="x", signal="x", last_lines=("x", "x"))
    return [ok.model_copy(update=told), oom.model_copy(update=told | {"cause": cause, "loaded": None})]


def _marred(record: Record, text: str, keep: Sequence[str]) -> Record:
    known = record.model_dump(mode="json")
    known["cell"]["settings"]["options"] = {text: text}
    for where in list(_texts(known, ())):
        if where[-1] not in keep:
            _put(known, where, text)
    made = Record.model_validate(known)
    return seal(made.model_copy(update={"cell_id": made.cell.cell_id}))


def _texts(value: object, where: Where) -> Iterator[Where]:
    """Where the texts of `value` are."""
    if isinstance(value, str):
        yield where
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, item in items:
        yield from _texts(item, (*where, name))


def _put(known: Any, where: Where, text: str) -> None:
    """Put `text` there, if what results is a record."""
    place = known
    for name in where[:-1]:
        place = place[name]
    before, place[where[-1]] = place[where[-1]], text
    try:
        Record.model_validate(known)
    except ValidationError:
        place[where[-1]] = before
