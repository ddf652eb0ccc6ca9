"""The table after a run: what was measured, how sure it is, what to doubt, and what is from before."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from speed_benchmark.judge.judge import judged
from speed_benchmark.record.record import Agreement, Checkpoint, Record
from speed_benchmark.record.store import Store
from speed_benchmark.report.explain import explain
from speed_benchmark.report.rows import row
from speed_benchmark.report.tables import explained, label, print_run
from speed_benchmark.report.words import Language, words
from speed_benchmark.run.stored import Stored, of_judged
from tests.report.made import record, vary

Keep = Callable[..., list[Stored]]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Stores records as a run does, and gives what it remembers of them."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TZ", "UTC")

    def keep(*records: Record, is_new: bool = True) -> list[Stored]:
        store = Store(tmp_path / "records")
        store.open()
        written = [store.write(one) for one in records]
        return [of_judged(judged(sealed), path, is_new=is_new) for sealed, path in written]

    return keep


def below(records: Sequence[Record], language: Language = "en") -> list[str]:
    """What stands below the table of `records`."""
    judgements = [judged(one) for one in records]
    lines = [(label(row(one, "")), explain(one, language)) for one in judgements]
    return explained(lines, words(language))


def test_each_record_is_explained_below_its_name(measured: dict[str, Record]) -> None:
    slow = measured["ok"].warmups[0].model_copy(update={"duration_s": 2.5})
    short, long = (vary(measured["ok"], input_tokens=tokens) for tokens in (6, 600))
    long = long.model_copy(update={"warmups": (slow,)})
    failed = vary(measured["oom"], input_tokens=6000)
    lines = below([short, long, failed])
    assert [line for line in lines if not line.startswith(("  ", "all: "))] == [
        f"Qwen2.5-0.5B-Instruct BF16 transformers {tokens}" for tokens in (6, 600, 6000)
    ]
    ran = "ran: BF16, fake attention, eager, rope default, on fake"
    assert lines[-1] == f"all: {ran}"
    assert f"  {ran}" not in lines
    assert lines.count("  the first request took 2.5 s, 2.8 times as long as a repeat") == 1
    assert lines.index("  the first request took 2.5 s, 2.8 times as long as a repeat") > lines.index(
        "Qwen2.5-0.5B-Instruct BF16 transformers 600"
    )
    assert below([short]) == explain(judged(short))
    agreed = short.model_copy(update={"agreement": Agreement(engine="vllm", record_id="", compared=16, agreed=12)})
    assert "vllm chose the same first 12 of 16 tokens" in explain(judged(agreed))
    assert below([]) == []


def test_an_interval_is_shown_and_no_other_spread(
    measured: dict[str, Record], kept: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    seven = measured["ok"]
    summary = judged(seven).judgement.summary
    assert summary
    interval = summary.generation_tokens_per_s.interval
    assert interval
    print_run(kept(seven))
    shown = capsys.readouterr().out
    assert f"{summary.generation_tokens_per_s.mean:.2f} ± {(interval.high - interval.low) / 2:.2f} " in shown
    assert "95 % confidence interval" in shown
    print_run(kept(vary(seven, samples=seven.samples[:2], protocol={"repeats": 2})))
    assert "±" not in capsys.readouterr().out


def test_the_columns_are_those_of_reports(
    measured: dict[str, Record], kept: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(kept(vary(measured["ok"], gpus=1), vary(measured["oom"], gpus=1, input_tokens=60)))
    head, _, *lines = capsys.readouterr().out.splitlines()
    names = ["Model", "Engine", "Input Length", "Output Length", "Quantization", "GPU Num", "Speed (tokens/s)"]
    assert [name.strip() for name in head.split("   ") if name.strip()] == [*names, "GPU Memory (GiB)", "Verdict"]
    assert lines[0].split()[-1] == "valid"
    assert lines[1].split()[-2:] == ["oom", "invalid"]
    assert sum(line.startswith("record: ") for line in lines) == 2


def test_what_was_measured_before_says_when(
    measured: dict[str, Record], kept: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was printed as if it had been measured now."""
    old, new = kept(vary(measured["ok"]), is_new=False), kept(vary(measured["ok"], input_tokens=7))
    print_run([*old, *new])
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[-1] == "Measured"
    assert f"{old[0].measured_at:%Y-%m-%d %H:%M}" in lines[0]
    assert lines[1].rstrip().endswith("valid")
    print_run(new)
    assert "Measured" not in capsys.readouterr().out


def test_a_batch_tells_of_each_sequence(kept: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    batch = vary(record(batch_size=4))
    print_run(kept(batch))
    shown = capsys.readouterr().out
    summary = judged(batch).judgement.summary
    assert summary
    assert "Batch Size" not in shown
    each = summary.sequence_generation_tokens_per_s.mean
    assert f"each of 4 sequences: {each:.2f} tokens/s; all had their first token after 103.0 ms" in shown
    print_run(kept(batch, vary(record())))
    both = capsys.readouterr().out
    assert "Batch Size" in both
    assert "Qwen2.5-0.5B-Instruct BF16 transformers 6 x 4 █" in both


def test_a_simulated_clock_is_named_first(measured: dict[str, Record]) -> None:
    ok = measured["ok"]
    assert ok.loaded
    simulated = ok.model_copy(update={"loaded": ok.loaded.model_copy(update={"simulated": True})})
    simulated = simulated.model_copy(update={"checkpoint": Checkpoint(source="synthetic")})
    lines = explain(judged(simulated))
    assert lines[0] == "simulated: no figure is real"
    assert not any("are real" in line for line in lines)


def test_many_repeats_share_bars(measured: dict[str, Record], kept: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    seven = measured["ok"]
    rows = [(30, 30, "repeat 30 "), (31, 16, "repeat 31 "), (100, 25, "repeats 97 to 100 ")]
    for count, lines, last in rows:
        samples = tuple(seven.samples[number % 7] for number in range(count))
        print_run(kept(vary(seven, samples=samples, protocol={"repeats": count})))
        bars = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("repeat")]
        assert len(bars) == lines
        assert bars[-1].startswith(last)
    mean = sum(sample.output_tokens / sample.duration_s for sample in samples[96:]) / 4
    assert bars[-1].endswith(f" {mean:.2f}")


def test_nothing_measured_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_run([])
    assert capsys.readouterr().out == ""
