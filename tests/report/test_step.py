"""What is shown of a step's split: a line below the table, figures of the row, a bar on the page."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from playwright.sync_api import Browser

from speed_benchmark.judge.judge import judged
from speed_benchmark.record.format import seal
from speed_benchmark.record.record import DeviceWindow, Kernel, Profile, Record
from speed_benchmark.report import documents
from speed_benchmark.report.explain import explain
from speed_benchmark.report.page import html
from speed_benchmark.report.rows import row
from tests.report.made import record, shown

Command = Callable[..., CompletedProcess[str]]
# Of steps of 10 ms.
KERNELS = {"gemm": 0.004, "flash_fwd": 0.0015, "argmax": 0.0005, "silu": 0.00004}
LINE = (
    "device alone: 149.03 tokens/s; a step of 10 ms = matrix products 40 % | attention 15 % | sampling 5 % | gaps 7 %"
)


@pytest.fixture
def profiled() -> Record:
    kernels = tuple(Kernel(name=name, count_per_token=1, s_per_token=one_s) for name, one_s in KERNELS.items())
    window = DeviceWindow(
        first_token=3, tokens=32, device_s=sum(KERNELS.values()), pass_s=0.02, graph_gap_s=0.00067, kernels=kernels
    )
    return seal(record(((0.1, 0.01),) * 3, profile=Profile(start=window)))


def test_a_line_says_where_a_step_goes(profiled: Record) -> None:
    """What takes less than half a percent is left out."""
    assert f"{LINE} | host 33 %" in explain(judged(profiled))
    (chinese,) = [line for line in explain(judged(profiled), "zh") if "149.03" in line]
    assert chinese.endswith("矩阵乘法 40 % | 注意力 15 % | 采样 5 % | 间隙 7 % | 主机 33 %")
    assert not any("device alone" in line for line in explain(judged(record())))


def test_a_row_has_its_figures(profiled: Record) -> None:
    found = row(judged(profiled), "")
    assert found.device_tokens_per_s == pytest.approx(1 / 0.00671)
    assert found.device_s_per_token == pytest.approx(0.00604)
    assert found.host_share == pytest.approx(0.329)
    assert dict(found.step_shares)["attention"] == pytest.approx(0.15)
    assert row(judged(record()), "").step_shares == ()


@pytest.mark.engine
def test_a_run_prints_it(command: Command, fake_model: Callable[..., Path]) -> None:
    device = {"kernels": {"gemm": 0.004, "flash_fwd": 0.002}, "graph_gap_s": 0.001}
    model = fake_model(**device, token_s=0.01)
    asked = ("--context_length", 6, "--generate_length", 100, "--repeats", 3)
    done = command("run", "--model_id_or_path", model, "--engine", "fake", *asked)
    assert done.returncode == 0, done.stderr
    told = (
        "device alone: 142.86 tokens/s; a step of 10 ms = matrix products 40 % | attention 20 % | gaps 10 % | host 30 %"
    )
    assert told in done.stdout
    again = command("run", "--model_id_or_path", model, "--engine", "fake", *asked, "--no_profile", "--force")
    assert "device alone" not in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("medium", ["screen", "print"])
def test_the_page_draws_a_bar_that_is_read_without_its_colours(
    profiled: Record, browser: Browser, tmp_path: Path, scheme: str, medium: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html(documents.report(shown([profiled]), "en", "qwen2.5")))
    page = browser.new_context(color_scheme=scheme).new_page()  # type: ignore[arg-type]
    page.emulate_media(media=medium)  # type: ignore[arg-type]
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.evaluate("document.querySelector('#raw tbody tr').click()")
    slices = page.locator("dialog .stack span")
    widths_px = [slices.nth(index).bounding_box()["width"] for index in range(slices.count())]  # type: ignore[index]
    # matrix products, attention, sampling, other kernels, gaps, host
    assert [one / sum(widths_px) for one in widths_px] == pytest.approx(
        [0.4, 0.15, 0.05, 0.004, 0.067, 0.329], abs=0.01
    )
    assert page.locator("dialog .legend li").all_inner_texts() == [
        "matrix products 40.0 %",
        "attention 15.0 %",
        "sampling 5.0 %",
        "other kernels 0.4 %",
        "gaps 6.7 %",
        "host 32.9 %",
    ]
    colours = slices.evaluate_all("spans => spans.map((one) => getComputedStyle(one).backgroundColor)")
    assert len(set(colours)) == len(colours)
    assert "rgba(0, 0, 0, 0)" not in colours
