"""Another engine: one small file and one line that registers it, and everything about it is right."""

import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.engines import registry
from speed_benchmark.judge.judge import judged
from speed_benchmark.machine.device import Device
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.folder import read
from speed_benchmark.run import estimate, forecast
from tests.engines.echo import EchoSettings
from tests.shapes import published_shape

pytestmark = pytest.mark.engine

SOURCE = Path(__file__).with_name("echo.py")
DOCUMENT = Path(__file__).parents[2] / "docs" / "engines.md"
ENTRY_POINTS = "[speed_benchmark.engines]\necho = echo:EchoSettings\n"
MOST_LINES = 90

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages with that engine in it."""
    folder = tmp_path / "site"
    (folder / "echo-1.dist-info").mkdir(parents=True)
    (folder / "echo.py").write_text(SOURCE.read_text())
    (folder / "echo-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: echo\nVersion: 1\n")
    (folder / "echo-1.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """That engine, installed for this process."""
    entry = EntryPoint("echo", "tests.engines.echo:EchoSettings", registry.GROUP)
    monkeypatch.setattr(registry, "_registered", lambda: {"echo": entry})
    registry.settings_class.cache_clear()
    yield
    registry.settings_class.cache_clear()


def test_it_is_small() -> None:
    assert len((SOURCE.read_text() + ENTRY_POINTS).splitlines()) <= MOST_LINES


def test_its_document_shows_it_as_it_is() -> None:
    blocks = re.findall(r"^```(python|ini)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert ("python", SOURCE.read_text()) in blocks
    assert ("ini", ENTRY_POINTS) in blocks


def test_its_flags_are_offered(command: Command, site: Path) -> None:
    done = command("run", "--help", PYTHONPATH=str(site))
    shown = " ".join(done.stdout.split())
    assert "--engine echo|transformers|vllm" in shown
    assert "--longest NUMBER longest prompt plus output of Echo (echo only) [default: 2048]" in shown
    assert "--voice low|high how loud it echoes (echo only) [default: low]" in shown


def test_it_is_measured_and_reported(command: Command, site: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(
        f'engine = "echo"\nmodel_id_or_path = "{tiny_model}"\ncontext_length = 20\ngenerate_length = 30\n'
        'longest = 64\nbatch_size = 2\nrepeats = 3\nvoice = ["low", "high"]\noutputs_dir = "out"\n'
    )
    done = command("run", "suite.toml", PYTHONPATH=str(site), ECHO_WORDS="many")
    assert done.returncode == 0, done.stderr
    records = [read(path) for path in sorted((tmp_path / "out").glob("*.json"))]
    assert {record.cell.settings.options["voice"] for record in records} == {"low", "high"}
    for record in records:
        assert record.cell.settings.options["longest"] == 64
        assert record.provenance.packages["echo"] == "1"
        assert record.provenance.environment["ECHO_WORDS"] == "many"
        outputs = [sequence.output_tokens for sample in record.samples for sequence in sample.sequences]
        assert outputs == [30] * 2 * 3
        summary = judged(record).judgement.summary
        assert summary is not None
        assert summary.need is not None
        blocks = 2 * 4 + 1  # 50 tokens of two sequences in blocks of 16, and a spare one
        assert (summary.need.weight_bytes, summary.need.kv_cache_bytes) == (1000, blocks * 16 * 10)
        assert summary.need.as_started_bytes == 1000 + blocks * 16 * 10 + 500
    report = command("report", "out", "--format", "markdown", PYTHONPATH=str(site)).stdout
    assert "tiny (Echo)" in report
    assert "longest: 64" in report, "it does not vary"
    header, _, *rows = [[cell.strip() for cell in line.split("|")] for line in report.splitlines() if line[:1] == "|"]
    assert "longest" not in header
    assert [row[header.index("voice")] for row in rows] == ["low", "high"]


def test_its_options_are_its_own(command: Command, site: Path, tiny_model: Path) -> None:
    asked = ("run", "--engine", "echo", "--model_id_or_path", tiny_model, "--context_length", 4)
    wrong = command(*asked, "--voice", "shrill", PYTHONPATH=str(site))
    assert wrong.returncode == 2
    assert "--voice" in wrong.stderr
    foreign = command(*asked, "--max_model_len", 100, PYTHONPATH=str(site))
    assert foreign.returncode == 2
    assert "--max_model_len" in foreign.stderr
    too_long = command(*asked, "--generate_length", 100, "--longest", 50, PYTHONPATH=str(site))
    assert too_long.returncode == 2
    assert "--longest" in too_long.stderr


def test_its_memory_is_in_the_plan(command: Command, site: Path) -> None:
    done = command(
        *("plan", "--engine", "echo", "--model_id_or_path", "Qwen/Qwen2.5-7B-Instruct", "--weights", "synthetic"),
        *("--context_length", 1000, "--batch_size", 4, "--longest", 4096),
        PYTHONPATH=str(site),
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Qwen/")]
    # 57,344 bytes of cache for each of 4 times 4096 tokens; 512 tokens at once through an MLP of 18,944
    assert line.split()[:8] == ["Qwen/Qwen2.5-7B-Instruct", "echo", "1000", "4", "CPU", "14.19", "0.88", "0.07"]


def cell(gpu_count: int = 0) -> Cell:
    own = EchoSettings(longest=4096).stored()
    return Cell(
        model=Model(model_id_or_path="Qwen/Qwen2.5-7B-Instruct"),
        workload=Workload(context_length=1000, generate_length=200, batch_size=4),
        settings=EngineSettings(engine="echo", gpu_count=gpu_count, options=own),
        protocol=Protocol(),
    )


def figures(one: Cell, shape: Shape, on: Device) -> tuple[float, float]:
    """Seconds of its load, and of its first request beyond the others."""
    known = forecast.shipped()
    terms = forecast.of_load([one], shape, on, None, known)
    belief = forecast.Belief.of(terms, known.spreads)
    load, *_, first = (term.at(belief.logs) for term in terms)
    return load, first


@pytest.mark.usefixtures("echo")
def test_its_estimate_is_of_its_own_figures() -> None:
    shape = published_shape("Qwen/Qwen2.5-7B-Instruct")
    cpu, gpus = Device(0, 2**40, 1e10), Device(4, 2**40, 1e12)
    loads_s, firsts_s = zip(figures(cell(), shape, cpu), figures(cell(4), shape, gpus), strict=True)
    assert loads_s == pytest.approx([2.0 + shape.weight_bytes() / forecast.LOAD_BYTES_PER_S] * 2)
    assert firsts_s == pytest.approx((100.0, 0.0)), "half a second for each of 200 tokens, without GPUs"
    memory = estimate.memory(cell(4), shape, gpus)
    assert memory.kv_cache_bytes == 57344 * 4 * 4096
    # 2048 tokens at once, each layer split over the four GPUs
    values = 4 * 2048 * (3 * 18944 // 4 + 4 * 3584)
    assert memory.activation_bytes == 2 * values + 4 * estimate.WORKSPACE_BYTES


@pytest.mark.usefixtures("echo")
def test_it_splits_attention_heads() -> None:
    assert [gpus for gpus in range(1, 9) if estimate.can_split(cell().settings, 28, gpus)] == [1, 2, 4, 7]
