"""How fast a page of 5,000 cells opens: from the address to tables, raw table and the first chart on the screen.

    python benchmarks/page.py [--cells 5000] [--limit_s 3]

Needs the `report` and `dev` extras and Debian's chromium. Exit status 1 where it takes longer than the limit.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from speed_benchmark.record.store import read
from speed_benchmark.report import documents
from speed_benchmark.report.page import html
from speed_benchmark.report.rows import FORMATS, Row, order, row

LENGTHS = (1, 6144, 14336, 30720, 63488, 129024)
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 256,
    "max_position_embeddings": 32768,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "num_key_value_heads": 1,
    "vocab_size": 1024,
    "torch_dtype": "bfloat16",
}
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def main() -> int:
    """Make the page, open it five times, print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=5000)
    parser.add_argument("--limit_s", type=float, default=3.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "report.html"
        rows = cells(measured(Path(name)), given.cells)
        file.write_text(html(documents.report(rows, "en", "qwen2.5")))
        times_s = [open_s(file) for _ in range(5)]
        print(f"{len(rows)} cells, {file.stat().st_size / 1e6:.1f} MB: opens in", end=" ")
    print(", ".join(f"{time_s:.2f}" for time_s in times_s), f"s, median {statistics.median(times_s):.2f} s")
    return int(statistics.median(times_s) > given.limit_s)


def measured(folder: Path) -> Row:
    """The row of a record that the fake engine made."""
    model = folder / "Qwen2.5-0.5B-Instruct"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    out = folder / "records"
    command = [sys.executable, "-m", "speed_benchmark", "run", "--engine", "fake", "--weights", "synthetic", "--quiet"]
    asked = ["--context_length", "6", "--generate_length", "80", "--repeats", "7"]
    subprocess.run(
        [*command, *asked, "--model_id_or_path", str(model), "--outputs_dir", str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return row(read(next(out.glob("*.json"))), "record.json")


def cells(base: Row, count: int) -> list[Row]:
    """`count` rows like `base`, of many models, both engines, all formats and lengths."""
    made = []
    for index in range(count):
        rest, length = divmod(index, len(LENGTHS))
        rest, quantization = divmod(rest, len(FORMATS))
        model, engine = divmod(rest, 2)
        identity = f"sha256:{index:064x}"
        made.append(
            base.model_copy(
                update={
                    "record_id": identity,
                    "cell_id": identity,
                    "model": f"Model-{model}B-Instruct",
                    "engine": ("transformers", "vllm")[engine],
                    "quantization": FORMATS[quantization],
                    "input_tokens": LENGTHS[length],
                    "generation_tokens_per_s": 50 + index % 97,
                }
            )
        )
    return sorted(made, key=order)


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
