"""How fast a page of 5,000 cells opens: from the address to tables, raw table and the first chart on the screen.

    python benchmarks/page.py [--cells 5000] [--limit_s 3]

Needs the `report` and `dev` extras and Debian's chromium. Exit status 1 where it takes longer than the limit.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from speed_benchmark.engines import registry
from speed_benchmark.record.formats import FORMATS
from speed_benchmark.report import documents
from speed_benchmark.report.page import html
from speed_benchmark.report.rows import Row, order

QUANTIZATIONS = tuple(FORMATS)
LENGTHS = (1, 6144, 14336, 30720, 63488, 129024)
SPEEDS = (88.1, 90.3, 87.6, 89.9, 91.2, 88.8, 89.4)
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def main() -> int:
    """Make the page, open it five times, print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=5000)
    parser.add_argument("--limit_s", type=float, default=3.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "report.html"
        rows = cells(given.cells)
        file.write_text(html(documents.report(rows, "en", "qwen2.5")))
        times_s = [open_s(file) for _ in range(5)]
        print(f"{len(rows)} cells, {file.stat().st_size / 1e6:.1f} MB: opens in", end=" ")
    print(", ".join(f"{time_s:.2f}" for time_s in times_s), f"s, median {statistics.median(times_s):.2f} s")
    return int(statistics.median(times_s) > given.limit_s)


def cells(count: int) -> list[Row]:
    """`count` rows: many models, all engines, formats and lengths."""
    made = []
    for index in range(count):
        rest, length = divmod(index, len(LENGTHS))
        rest, quantization = divmod(rest, len(QUANTIZATIONS))
        model, engine = divmod(rest, len(registry.names()))
        made.append(
            row(
                f"sha256:{index:064x}",
                model=f"Model-{model}B-Instruct",
                engine=registry.names()[engine],
                quantization=QUANTIZATIONS[quantization],
                context_length=LENGTHS[length],
                generation_tokens_per_s=50 + index % 97,
            )
        )
    return sorted(made, key=order)


def row(identity: str, **cell: Any) -> Row:
    """A row that has something to show in every chart and most columns."""
    return Row(
        **cell,
        record_id=identity,
        record_ids=(identity,),
        cell_id=identity,
        file=f"Model_{identity[-8:]}.json",
        created_at="2026-01-02T03:04:05+00:00",
        generate_length=2048,
        gpu_count=1,
        repeat_tokens_per_s=SPEEDS,
        total_tokens_per_s=96.0,
        decode_tokens_per_s=90.5,
        time_to_first_token_s=0.1,
        inter_token_latency_p50_s=0.01,
        inter_token_s=(0.009, 0.0095, 0.01, 0.0105, 0.012),
        memory_bytes=2**30,
        mbu=0.4,
        per_generated_token_joules=1.5,
        machine="NVIDIA H100 80GB HBM3",
        software="torch 2.13.0",
        sampling="greedy",
        repeats=len(SPEEDS),
        warmups=1,
        outcome="ok",
        verdict="valid",
    )


def open_s(file: Path) -> float:
    """Seconds from the address to the first chart, in a browser that has not seen the page."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sys.exit("error: no browser is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        started = time.perf_counter()
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")
        page.wait_for_selector(".view[data-drawn]")
        took_s = time.perf_counter() - started
        browser.close()
    return took_s


if __name__ == "__main__":
    sys.exit(main())
