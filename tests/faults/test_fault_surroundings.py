"""Faults of the machine around a sweep: memory, disk, folder, driver, other processes, and files gone bad."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.cell import canonical_json, digest
from speed_benchmark.record.folder import read
from speed_benchmark.record.format import DamagedRecordError
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.store import Store
from tests.faults.sweeps import Ran, arguments, make_model, processes_left, run, stored
from tests.faults.tallies import Tally
from tests.run.signals import worker_of

pytestmark = pytest.mark.engine

MEMORY_GROUP = Path("/sys/fs/cgroup/memory")
SHIM = Path(__file__).parent / "shim"
EAT = {"faults": [{"action": "eat_memory", "at": "generate", "request": 1}]}


def command(model: Path, out: Path, *more: object, lengths: str = "5,6") -> list[str]:
    return [sys.executable, "-m", "speed_benchmark", *arguments([model], out, *more, lengths=lengths)]


def start(model: Path, out: Path, *more: object, lengths: str = "5,6", **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(model, out, *more, lengths=lengths), cwd=out.parent, stderr=subprocess.PIPE, text=True, **options
    )


def finish(process: subprocess.Popen[str], out: Path) -> Ran:
    _, stderr = process.communicate(timeout=60)
    return stored(Ran(process.returncode, stderr, 0.0), out)


def wait_for(condition: Callable[[], object], timeout_s: float = 30) -> None:
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own in `folder`, which only root can make."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("a file system can't be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_torch_out_of_memory(tmp_path: Path, tally: Tally) -> None:
    pytest.importorskip("torch")
    model = make_model(tmp_path / "m", faults=[{"action": "torch_oom", "at": "generate", "request": 1}])
    with tally("faults"):
        ran = run(arguments([model], tmp_path / "out", lengths="5"), tmp_path / "out")
        (record,) = ran.records
        assert record.outcome is Outcome.OOM
        assert record.cause is not None
        assert "CUDA out of memory" in record.cause.message


def test_the_kernel_kills_for_memory(tmp_path: Path, tally: Tally) -> None:
    """The worker is the biggest in a control group with too little memory; the parent in it survives."""
    group = MEMORY_GROUP / f"speed_benchmark_{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(400 * 2**20))
    except OSError:
        pytest.skip("no control group of version 1 can be made here")
    model = make_model(tmp_path / "m", **EAT)
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    try:
        with tally("faults"):
            done = subprocess.run(
                ["sh", "-c", enter, "sh", *command(model, tmp_path / "out")],
                cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            ran = stored(Ran(done.returncode, done.stderr, 0.0), tmp_path / "out")
            assert ran.status == 1
            assert sorted(record.outcome for record in ran.records) == [Outcome.OOM, Outcome.SKIPPED]
            cause = min(ran.records, key=lambda record: record.cell.workload.context_length).cause
            assert cause is not None
            assert "the kernel killed" in cause.message
            assert cause.signal == "SIGKILL"
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_no_address_space_is_left(tmp_path: Path, tally: Tally) -> None:
    model = make_model(tmp_path / "m", **EAT)
    with tally("faults"):
        limit = 1536 * 2**20
        process = start(
            model, tmp_path / "out", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        )
        ran = finish(process, tmp_path / "out")
        assert sorted(record.outcome for record in ran.records) == [Outcome.OOM, Outcome.SKIPPED]
        assert "MemoryError" in str([record.cause for record in ran.records])


def test_disk_full_from_the_start(tmp_path: Path, tally: Tally) -> None:
    with disk(tmp_path / "disk", "1m"), tally("faults"):
        out = tmp_path / "disk" / "out"
        ran = run(arguments([make_model(tmp_path / "m")], out), out)
        assert ran.status == 1
        assert "make room" in ran.stderr
        assert "Traceback" not in ran.stderr
        assert not ran.records


def test_disk_full_midway(tmp_path: Path, tally: Tally) -> None:
    """What is stored stays, what was just finished is kept elsewhere, and copied there it counts."""
    with disk(tmp_path / "disk", "70m"), tally("faults"):
        out = tmp_path / "disk" / "out"
        spare = tmp_path / "spare"
        spare.mkdir()
        model = make_model(tmp_path / "m", real_token_s=0.1)
        process = start(model, out, lengths="5,6,7", env=os.environ | {"TMPDIR": str(spare)})
        wait_for(lambda: list(out.glob("*.json")))
        hog = tmp_path / "disk" / "hog"
        with hog.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        ran = finish(process, out)
        assert ran.status == 1
        assert "No space left" in ran.stderr
        assert "Traceback" not in ran.stderr
        assert not ran.damaged
        hog.unlink()
        (rescued,) = spare.rglob("*.json")
        shutil.copy(rescued, out)
        before = len(ran.records) + 1
        again = run(arguments([model], out, lengths="5,6,7"), out)
        assert again.status == 0
        assert len(again.records) == 3 > before - 1
        assert len({record.cell_id for record in again.records}) == 3, "nothing is measured twice"


def test_folder_read_only_from_the_start(tmp_path: Path, tally: Tally) -> None:
    with disk(tmp_path / "disk", "80m"), tally("faults"):
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        ran = run(arguments([make_model(tmp_path / "m")], tmp_path / "disk" / "out"), tmp_path / "out")
        assert ran.status == 2
        assert "can't be written" in ran.stderr


def test_folder_read_only_midway(tmp_path: Path, tally: Tally) -> None:
    with disk(tmp_path / "disk", "80m"), tally("faults"):
        out = tmp_path / "disk" / "out"
        process = start(make_model(tmp_path / "m", real_token_s=0.1), out, lengths="5,6,7")
        wait_for(lambda: list(out.glob("*.json")))
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        ran = finish(process, out)
        assert ran.status == 1
        assert "Read-only" in ran.stderr
        assert "Traceback" not in ran.stderr
        assert len(ran.records) >= 1
        assert not ran.damaged


@pytest.mark.parametrize("breaks", [False, True], ids=["nvml_says_little", "nvml_fails_midway"])
def test_nvml(tmp_path: Path, tally: Tally, *, breaks: bool) -> None:
    out = tmp_path / "out"
    shim = {"PYTHONPATH": str(SHIM), "CUDA_SHIM_GPUS": "2", "CUDA_SHIM_BREAK": str(tmp_path / "broken")}
    model = make_model(tmp_path / "m", real_token_s=0.05)
    with tally("faults"):
        process = start(model, out, "--gpus", "0", lengths="5,6", env=os.environ | shim)
        wait_for(lambda: list(out.glob("*.json")))
        if breaks:
            (tmp_path / "broken").touch()
        ran = finish(process, out)
        assert "Traceback" not in ran.stderr
        assert [(record.outcome, record.gpus) for record in ran.records] == [(Outcome.OK, (0,))] * 2


def test_nvml_absent(tmp_path: Path, tally: Tally) -> None:
    shim = {"PYTHONPATH": str(SHIM), "CUDA_SHIM_GPUS": "2", "CUDA_SHIM_BREAK": "/"}
    with tally("faults"):
        ran = run(
            arguments([make_model(tmp_path / "m")], tmp_path / "out", "--gpus", "0"), tmp_path / "out", 60, **shim
        )
        assert ran.status == 2
        assert "no GPU is here" in ran.stderr


def test_worker_killed_from_outside(tmp_path: Path, tally: Tally) -> None:
    out = tmp_path / "out"
    model = make_model(tmp_path / "m", real_token_s=0.3)
    with tally("faults"):
        process = start(model, out)
        wait_for(lambda: worker_of(process.pid))
        time.sleep(0.5)
        os.kill(worker_of(process.pid)[0], signal.SIGKILL)
        ran = finish(process, out)
        outcomes = sorted(record.outcome for record in ran.records)
        assert outcomes in ([Outcome.CRASHED, Outcome.OK], [Outcome.CRASHED] * 2), "it may have been loading still"
        assert processes_left(tmp_path) == []


def test_two_sweeps_at_once(tmp_path: Path, tally: Tally) -> None:
    """The second is refused; when the first is killed its lock goes with it."""
    out = tmp_path / "out"
    model = make_model(tmp_path / "m", real_token_s=0.2)
    with tally("faults"):
        first = start(model, out)
        wait_for(lambda: worker_of(first.pid))
        second = run(arguments([model], out), out)
        assert second.status == 2
        assert "another sweep" in second.stderr
        first.kill()
        first.wait()
        third = run(arguments([model], out), out)
        assert third.status == 0
        assert len({record.cell_id for record in third.records}) == len(third.records) == 2


def test_two_writers_at_once(tmp_path: Path, tally: Tally) -> None:
    """What always measures anew takes no lock: its files just lie beside each other."""
    out = tmp_path / "out"
    models = [make_model(tmp_path / "m"), make_model(tmp_path / "n" / "m")]
    with tally("faults"):
        processes = [start(model, out, "--retry", "all") for model in models]
        assert [process.wait(60) for process in processes] == [0, 0]
        ran = stored(Ran(0, "", 0.0), out)
        assert (len(ran.records), len(ran.damaged)) == (4, 0)


@pytest.fixture(scope="module")
def record_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("record")
    run(arguments([make_model(folder / "m")], folder / "out", lengths="5"), folder / "out")
    (path,) = (folder / "out").glob("*.json")
    return path


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def newer(content: bytes) -> bytes:
    """A whole record of a later version, with a key that this one does not know."""
    evidence = json.loads(content) | {"schema_version": 3, "mood": "good"}
    del evidence["record_id"], evidence["judgement"]
    return f'{{"record_id":"{digest(evidence)}",{canonical_json(evidence)[1:-1]}}}\n'.encode()


def same_id(content: bytes) -> bytes:
    return content.replace(b'"outcome":"ok"', b'"outcome":"oom"')


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "no whole record"),
        (lambda _: b"", "no whole record"),
        (lambda content: bytes(len(content)), "no whole record"),
        (lambda content: content * 2, "several records"),
        (lambda content: content.replace(b":", b": "), "no whole record"),
        (flipped, "does not match"),
        (same_id, "does not match"),
        (newer, "its schema is not one of 1 to 2"),
    ],
    ids=["cut", "empty", "zeros", "doubled", "reformatted", "flipped_bit", "another's_id", "newer_schema"],
)
def test_file_gone_bad(
    damage: Callable[[bytes], bytes], says: str, record_file: Path, tmp_path: Path, tally: Tally
) -> None:
    """It is named and left alone, what is good beside it is read, and the cell is measured again."""
    out = tmp_path / "out"
    out.mkdir()
    bad = out / record_file.name
    bad.write_bytes(damage(record_file.read_bytes()))
    with tally("faults"):
        with pytest.raises(DamagedRecordError, match=says):
            read(bad)
        model = record_file.parent.parent / "m"
        ran = run(arguments([model], out, lengths="5"), out)
        assert ran.status == 0
        assert (len(ran.records), len(ran.damaged)) == (1, 1)


def test_duplicate_id(record_file: Path, tmp_path: Path, tally: Tally) -> None:
    """The same record copied in twice is one record."""
    for folder in ("out/here", "out/there"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(record_file, tmp_path / folder)
    with tally("faults"):
        assert len(list(Store(tmp_path / "out").records())) == 1
        ran = run(arguments([record_file.parent.parent / "m"], tmp_path / "out", lengths="5"), tmp_path / "out")
        assert ran.status == 0
        assert len(list((tmp_path / "out").rglob("*.json"))) == 2, "nothing is measured again"
