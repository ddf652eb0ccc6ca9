"""The policy of a sweep, against real worker processes of the fake engine."""

import os
import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Severity
from speed_benchmark.machine import cores, identity
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.run.sweep import cores_of
from tests.faults.sweeps import arguments, make_model, run
from tests.run.signals import interrupt, start

pytestmark = pytest.mark.engine

SHIM = Path(__file__).parents[1] / "faults" / "shim"


def lengths(records: list[Record]) -> list[int]:
    return sorted(record.cell.workload.context_length for record in records)


def kinds(records: list[Record]) -> list[str | None]:
    ordered = sorted(records, key=lambda record: record.cell.workload.context_length)
    return [record.cause.kind if record.cause else None for record in ordered]


def test_one_load_for_all_lengths(tmp_path: Path) -> None:
    """The fake engine loads in 10 s of its own time; each record says when its load began."""
    models = [make_model(tmp_path / name) for name in ("a", "b")]
    ran = run(arguments(models, tmp_path / "out", lengths="5,6,7"), tmp_path / "out")
    assert ran.status == 0
    assert len({record.machine_before.unix_s for record in ran.records}) == 2
    assert lengths(ran.records) == [5, 5, 6, 6, 7, 7]


def test_resuming_does_what_is_missing(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m"), tmp_path / "out"
    first = run(arguments([model], out, lengths="5,6"), out)
    again = run(arguments([model], out, lengths="5,6"), out)
    more = run(arguments([model], out, "--seed", "7,1024", lengths="5-7"), out)
    ids = [{record.record_id for record in ran.records} for ran in (first, again, more)]
    assert ids[0] == ids[1] < ids[2]
    assert len(more.records) == 6
    assert (first.status, again.status, more.status) == (0, 0, 0)


def test_another_protocol_is_another_cell(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m"), tmp_path / "out"
    run(arguments([model], out, lengths="5"), out)
    ran = run([*arguments([model], out, lengths="5"), "--warmups", "2"], out)
    assert len({record.cell_id for record in ran.records}) == len(ran.records) == 2


def test_failed_cells_only_when_asked(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m", room_tokens=9), tmp_path / "out"
    assert run(arguments([model], out), out).status == 1
    assert len(run(arguments([model], out), out).records) == 2
    (model / "fake.json").write_text("{}")
    again = run(arguments([model], out, "--retry", "failed"), out)
    assert again.status == 0
    assert Counter(record.outcome for record in again.records) == {Outcome.OK: 2, Outcome.OOM: 1}
    assert len(run(arguments([model], out, "--retry", "failed"), out).records) == 3


def test_scripts_always_measure_anew(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m"), tmp_path / "out"
    for _ in range(2):
        ran = run(arguments([model], out, "--retry", "all", lengths="5"), out)
    assert len(ran.records) == 2


def test_folders_of_several_machines_merge_by_copying(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    run(arguments([model], tmp_path / "here", lengths="5"), tmp_path / "here")
    run(arguments([model], tmp_path / "there", lengths="6"), tmp_path / "there")
    (tmp_path / "there").rename(tmp_path / "here" / "there")
    ran = run(arguments([model], tmp_path / "here", lengths="5,6"), tmp_path / "here")
    assert (ran.status, lengths(ran.records)) == (0, [5, 6])


def test_rounds_interleave(tmp_path: Path) -> None:
    models, out = [make_model(tmp_path / name) for name in ("a", "b")], tmp_path / "out"
    run(arguments(models, out, lengths="5"), out)
    ran = run(arguments(models, out, "--rounds", "3", lengths="5"), out)
    assert set(Counter(record.cell_id for record in ran.records).values()) == {3}
    order = [
        record.cell.model.model_id_or_path
        for record in sorted(ran.records, key=lambda record: record.machine_before.unix_s)
    ]
    assert all(first != second for first, second in pairwise(order)), "a, b, a, b, a, b"


def test_longer_ones_are_skipped_after_out_of_memory(tmp_path: Path) -> None:
    model, out = make_model(tmp_path / "m", room_tokens=9), tmp_path / "out"
    ran = run(arguments([model], out, lengths="5-8"), out)
    assert ran.status == 1
    assert kinds(ran.records) == [None, None, "after_shorter", "after_shorter"]
    outcomes = Counter(record.outcome for record in ran.records)
    assert outcomes == {Outcome.OK: 1, Outcome.OOM: 1, Outcome.SKIPPED: 2}
    all_run = run(arguments([model], out, "--no_skip", lengths="5-8"), out)
    assert len(all_run.records) == 6, "those that were skipped are run all the same"
    assert sum("room for 9" in record.cause.message for record in all_run.records if record.cause) == 3


def test_what_cannot_fit_is_not_run(tmp_path: Path) -> None:
    """72 billion parameters of 2 bytes are more than any machine that runs this test has."""
    command = [
        *("run", "--engine", "transformers", "--model_id_or_path", "Qwen/Qwen2.5-72B-Instruct", "--weights"),
        *("synthetic", "--context_length", "1,6144", "--outputs_dir", str(tmp_path / "out")),
    ]
    pytest.importorskip("transformers")
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > 140 * 2**30:
        pytest.skip("this machine has the memory")
    ran = run(command, tmp_path / "out")
    assert ran.status == 1
    assert [record.outcome for record in ran.records] == [Outcome.SKIPPED] * 2
    assert kinds(ran.records) == ["cannot_fit"] * 2
    again = run(command, tmp_path / "out")
    assert len(again.records) == 2, "they answer: nothing has changed here"
    assert ran.seconds < 20, "nothing is made, fetched or started"


@pytest.mark.parametrize(
    ("at", "signals", "samples", "slow"),
    [
        ("repeat 1 of 2: input 5", [signal.SIGINT], [1], True),
        ("repeat 2 of 2: input 5", [signal.SIGINT], [2], True),
        ("repeat 2 of 2: input 5", [signal.SIGINT, signal.SIGINT], [1], False),
        ("repeat 1 of 2: input 5", [signal.SIGINT, signal.SIGINT], [], False),
        ("repeat 2 of 2: input 5", [signal.SIGTERM], [1], False),
        ("repeat 2 of 2: input 5", [signal.SIGHUP], [1], False),
        ("warmup 1 of 1: input 5", [signal.SIGINT], [], False),
        ("loading the model", [signal.SIGINT], [], False),
    ],
    ids=["finishes_the_repeat", "finishes_the_cell", "twice", "twice_at_first", "term", "hup", "warmup", "load"],
)
def test_interrupt(tmp_path: Path, at: str, signals: list[signal.Signals], samples: list[int], *, slow: bool) -> None:
    """Once: the running repeat ends and is stored. Twice: at once. What is stored of a part is no result."""
    model, out = make_model(tmp_path / "m", real_token_s=0.6), tmp_path / "out"
    ran = interrupt(start([model], out), at, out, *signals)
    assert ran.status == 130
    assert "interrupted" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [len(record.samples) for record in ran.records] == samples
    assert (ran.seconds > 1.5) is slow, "a request takes 2.4 s"
    whole = [record for record in ran.records if len(record.samples) == 2]
    assert all(record.outcome is Outcome.OK for record in whole)
    (model / "fake.json").write_text("{}")
    again = run(arguments([model], out, lengths="5,6"), out)
    assert again.status == 0
    assert sum(record.outcome is Outcome.OK for record in again.records) == 2
    assert len(again.records) == 2 + len(samples) - len(whole)


def shim(tmp_path: Path, gpus: int) -> dict[str, Any]:
    return {
        "PYTHONPATH": str(SHIM),
        "CUDA_SHIM_GPUS": str(gpus),
        "CUDA_SHIM_BREAK": str(tmp_path / "never"),
    }


def test_side_by_side(tmp_path: Path) -> None:
    """Four loads on two GPUs: never two on the same one, each on cores of its own, and the records say so."""
    models = [make_model(tmp_path / name, real_token_s=0.3) for name in "abcd"]
    out = tmp_path / "out"
    ran = run(arguments(models, out, "--parallel", "--gpus", "auto", lengths="5"), out, **shim(tmp_path, 2))
    assert ran.status == 0
    assert len(ran.records) == 4
    assert {record.gpus for record in ran.records} == {(0,), (1,)}
    for gpu in (0, 1):
        turns = sorted(
            (record.machine_before.unix_s, record.machine_after.unix_s)
            for record in ran.records
            if record.gpus == (gpu,)
        )
        assert all(end <= start for (_, end), (start, _) in pairwise(turns))
    beside = [record for record in ran.records if record.colocation]
    assert len(beside) >= 2
    for record in beside:
        (finding,) = (finding for finding in judge(record).findings if finding.code == "shared_host")
        assert finding.severity in (Severity.NOTE, Severity.DOUBTFUL)


def test_cores_are_divided() -> None:
    whole = set(cores.topology().siblings.values())
    shares = [cores_of((gpu,), (4, 5)) for gpu in (4, 5)]
    assert not set(shares[0]) & set(shares[1])
    assert not any(core & set(shares[0]) and core & set(shares[1]) for core in whole)
    assert sorted(cores_of((4, 5), (4, 5))) == sorted([*shares[0], *shares[1]])


def test_a_system_that_binds_no_process_to_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores_of((0,), (0,)) == ()


def test_a_record_tells_its_machine_by_hashes_and_names_nobody(tmp_path: Path) -> None:
    """Neither the host nor the user is named, as the system has them or as the environment says."""
    model, out = make_model(tmp_path / "m"), tmp_path / "out"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, socket\n"
        "named = os.uname_result(('Linux', 'xq-node-name', *os.uname()[2:]))\n"
        "os.uname = lambda: named\n"
        "socket.gethostname = socket.getfqdn = lambda *_: 'xq-node-name'\n"
    )
    command = arguments([model], out, lengths="5")
    ran = run(command, out, HOSTNAME="xq-host-name", USER="xq-user-name", PYTHONPATH=str(tmp_path))
    (record,) = ran.records
    assert record.machine.boot_id == identity.boot_id()
    assert record.machine.host_id == identity.host_id()
    text = record.model_dump_json()
    known = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")
    ids = [file.read_text().strip() for file in known if file.is_file()]
    for name in ("xq-node-name", "xq-host-name", "xq-user-name", *filter(None, ids)):
        assert name not in text
