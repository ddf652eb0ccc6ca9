"""The policy of a run, against the fake engine and its virtual clock, to the exact number."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Summary, Verdict
from speed_benchmark.record.folder import read
from speed_benchmark.record.format import judgement, parse
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record

pytestmark = pytest.mark.engine

Command = Callable[..., subprocess.CompletedProcess[str]]
Model = Callable[..., Path]


def only_record(folder: Path) -> Record:
    (path,) = folder.rglob("*.json")
    return read(path)


def measure(command: Command, model: Path, *more: object, context: int = 5, generate: int = 11) -> Record:
    command(
        *("run", "--engine", "fake", "--model_id_or_path", model, "--context_length", context),
        *("--generate_length", generate, "--outputs_dir", "out", *more),
    )
    return only_record(Path(model).parent / "out")


def summary_of(record: Record) -> Summary:
    summary = judge(record).summary
    assert summary is not None
    return summary


def test_speeds_are_exact(command: Command, fake_model: Model) -> None:
    # requests: a slow warm-up, then three repeats of 2, 4 and 8 s in all
    model = fake_model(requests={0: (100.0, 10.0), 1: (1.0, 0.1), 2: (2.0, 0.2), 3: (4.0, 0.4)})
    record = measure(command, model, "--repeats", 3)
    assert record.outcome is Outcome.OK
    assert [sample.duration_s for sample in record.samples] == [2.0, 4.0, 8.0]
    assert [sample.duration_s for sample in record.warmups] == [200.0]
    summary = summary_of(record)
    assert summary.generation_tokens_per_s.mean == pytest.approx((11 / 2 + 11 / 4 + 11 / 8) / 3, rel=1e-12)
    assert summary.total_tokens_per_s.mean == pytest.approx((16 / 2 + 16 / 4 + 16 / 8) / 3, rel=1e-12)
    assert summary.decode_tokens_per_s is not None
    assert summary.decode_tokens_per_s.mean == pytest.approx((10 + 5 + 2.5) / 3, rel=1e-9)
    assert summary.prefill_tokens_per_s is None, "a prompt of 5 tokens says nothing of prefill"
    assert summary.time_to_first_token_s.mean == pytest.approx(7 / 3, rel=1e-12)
    assert (summary.duration_s.minimum, summary.duration_s.maximum) == (2.0, 8.0)
    p50 = summary.inter_token_latency_p50_s
    assert p50 is not None
    assert (p50.minimum, p50.mean, p50.maximum) == pytest.approx((0.1, 0.7 / 3, 0.4), rel=1e-9)
    assert summary.inter_token_latency_p90_s is None, "10 gaps are too few for a 90th percentile"


def test_percentiles_appear_with_enough_gaps(command: Command, fake_model: Model) -> None:
    summary = summary_of(measure(command, fake_model(), "--repeats", 1, generate=65))
    assert summary.inter_token_latency_p90_s is not None
    assert summary.inter_token_latency_p90_s.mean == pytest.approx(0.01, rel=1e-6)
    assert summary.inter_token_latency_p99_s is None


def test_single_token_has_no_decode_speed(command: Command, fake_model: Model) -> None:
    summary = summary_of(measure(command, fake_model(), generate=1))
    assert summary.decode_tokens_per_s is None
    assert summary.generation_tokens_per_s.mean == pytest.approx(1 / 0.5, rel=1e-12)


def test_by_default_repeats_end_when_the_speed_is_known(command: Command, fake_model: Model) -> None:
    """Three where they agree; six where they don't, and the cell says so."""
    steady = measure(command, fake_model())
    assert len(steady.samples) == 3
    assert steady.cell.protocol.is_default


def test_by_default_there_are_six_repeats_at_most(command: Command, fake_model: Model) -> None:
    paces = {number: (0.5, 0.1 + 0.01 * (number % 3)) for number in range(9)}
    assert len(measure(command, fake_model(requests=paces)).samples) == 6


def test_as_many_requests_as_asked(command: Command, fake_model: Model) -> None:
    record = measure(command, fake_model(), "--warmups", 2, "--repeats", 4)
    assert (len(record.warmups), len(record.samples)) == (2, 4)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"faults": [{"at": "generate", "action": "fewer_tokens", "request": 2}]}, "token_counts"),
        ({"faults": [{"at": "generate", "action": "more_tokens", "request": 2}]}, "token_counts"),
        ({"faults": [{"at": "generate", "action": "no_tokens", "request": 1}]}, "token_counts"),
        ({"faults": [{"at": "generate", "action": "backward_times", "request": 3}]}, "token_times"),
        ({"faults": [{"at": "generate", "action": "cached_prompt", "request": 1}]}, "cached_prompt"),
        ({"prefix_caching": True}, "prefix_caching"),
        ({"quantization": "GPTQ-Int4"}, "weight_format"),
    ],
)
def test_wrong_doing_makes_the_record_invalid(
    command: Command, fake_model: Model, script: dict[str, Any], code: str
) -> None:
    record = measure(command, fake_model(**script))
    assert record.outcome is Outcome.OK
    judged = judge(record)
    assert judged.verdict is Verdict.INVALID
    assert code in {finding.code for finding in judged.findings}


@pytest.mark.parametrize(
    ("fault", "outcome", "text"),
    [
        ({"at": "load", "action": "oom"}, Outcome.OOM, "device is full"),
        ({"at": "load", "action": "unsupported"}, Outcome.UNSUPPORTED, "does not support"),
        ({"at": "generate", "action": "error", "request": 1}, Outcome.CRASHED, "RuntimeError"),
        ({"at": "generate", "action": "sigkill", "request": 2}, Outcome.CRASHED, "SIGKILL"),
        ({"at": "prepare", "action": "exit_3"}, Outcome.CRASHED, "exit status 3"),
        ({"at": "generate", "action": "garbage", "request": 1}, Outcome.CRASHED, "garbage"),
    ],
)
def test_failure_is_a_value(
    command: Command, fake_model: Model, fault: dict[str, Any], outcome: Outcome, text: str
) -> None:
    model = fake_model(faults=[fault])
    done = command(
        *("run", "--engine", "fake", "--model_id_or_path", model, "--context_length", 5),
        *("--generate_length", 3, "--outputs_dir", "out"),
    )
    record = only_record(model.parent / "out")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert record.outcome is outcome
    assert record.cause is not None
    assert text in record.cause.message
    assert str(outcome) in done.stdout


def test_hang_ends_at_its_limit(command: Command, fake_model: Model) -> None:
    record = measure(
        command, fake_model(faults=[{"at": "generate", "action": "hang", "request": 1}]), "--first_token_limit_s", 1
    )
    assert record.outcome is Outcome.TIMEOUT
    assert record.cause is not None
    assert record.cause.stage == "repeat"


def test_json_is_the_record_and_nothing_else(command: Command, fake_model: Model) -> None:
    model = fake_model()
    done = command(
        *("run", "--engine", "fake", "--model_id_or_path", model, "--context_length", 5),
        *("--generate_length", 3, "--outputs_dir", "out", "--json", "--quiet"),
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert parse(done.stdout.encode()) == only_record(model.parent / "out")
    assert judgement(done.stdout.encode())["verdict"] == "valid", "for those who read JSON"


def test_nothing_heavy_in_the_parent(fake_model: Model, tmp_path: Path) -> None:
    program = (
        "import sys; from speed_benchmark.cli import run_cells\n"
        f"run_cells(engine='fake', model_id_or_path={str(fake_model())!r}, context_length='3',"
        f" generate_length='3', gpus=None, outputs_dir={str(tmp_path / 'out')!r}, quiet=True, json=True)\n"
        "print(*{'torch', 'transformers', 'vllm', 'huggingface_hub', 'modelscope'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == ""
