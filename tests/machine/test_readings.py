"""The sampler beside a worker: windows cut exactly, and the process that fills them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from speed_benchmark.machine.readings import Sampler, summarize
from speed_benchmark.machine.sampler import PERIOD_WITHOUT_GPU_S, MachineReader
from speed_benchmark.record.sample import Sample, Sequence
from tests.machine.fake_pynvml import FakeNvml, process


def gpu(energy_j: float | None = 0.0, power_w: float | None = 100.0, **changed: Any) -> dict[str, Any]:
    names = ("sm_clock_mhz", "memory_clock_mhz", "temperature_c", "utilization_percent", "memory_used_bytes")
    plain = dict.fromkeys(names, 1)
    return {"index": 0, "energy_j": energy_j, "power_w": power_w, "throttle": 0, "foreign": [], **plain, **changed}


def row(at_s: float, other_s: float = 0.0, gpus: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"at_s": at_s, "other_s": other_s, "frequency_mhz": None, "other_bytes": at_s, "gpus": gpus or []}


def test_a_window_is_cut_to_the_request() -> None:
    rows = [row(at_s, gpus=[gpu(sm_clock_mhz=at_s)]) for at_s in range(10)]
    readings = summarize(rows, 2.5, 3.0, 6.5, 4)
    assert readings is not None
    assert readings.count == 4
    clock = readings.gpus[0].sm_clock_mhz
    assert clock is not None
    assert (clock.minimum, clock.mean, clock.maximum) == (3, 4.5, 6)


@pytest.mark.parametrize(("start_s", "end_s"), [(-1.0, 5.0), (5.0, 9.5), (20.0, 21.0)])
def test_no_window_reaches_beyond_what_was_seen(start_s: float, end_s: float) -> None:
    assert summarize([row(at_s) for at_s in range(10)], start_s, start_s, end_s, 1) is None


def test_between_two_readings_the_nearest_stands_for_all() -> None:
    readings = summarize([row(0.0), row(1.0)], 0.6, 0.7, 0.8, 1)
    assert readings is not None
    assert readings.count == 0
    assert readings.other_memory_bytes is not None
    assert readings.other_memory_bytes.mean == 1.0


def test_cores_of_others_are_their_time_over_the_window() -> None:
    # half a core until 2, one and a half from there on
    rows = [row(at_s, other_s=0.5 * at_s if at_s <= 2 else 1 + 1.5 * (at_s - 2)) for at_s in (0, 1, 2, 3, 4)]
    readings = summarize(rows, 0.5, 1.0, 3.5, 1)
    assert readings is not None
    cores = readings.other_cores
    assert cores is not None
    assert cores.mean == pytest.approx((1.5 * 0.5 + 1.5 * 1.5) / 3)
    assert [cores.minimum, cores.maximum] == pytest.approx([0.5, 1.5])


def test_energy_is_split_at_the_first_token() -> None:
    # 100 J/s until 2 s, 50 J/s after it, on each of two GPUs
    rows = []
    for tenth in range(61):
        at_s = tenth / 10
        used_j = 1000 + (100 * at_s if at_s <= 2 else 200 + 50 * (at_s - 2))
        rows.append(row(at_s, gpus=[gpu(used_j), gpu(used_j)]))
    readings = summarize(rows, 0.55, 2.0, 5.05, 10)
    assert readings is not None
    energy = readings.energy
    assert energy is not None
    assert energy.source == "counter"
    assert energy.prefill_joules == pytest.approx(2 * 145)
    assert energy.decode_joules == pytest.approx(2 * 152.5)
    assert energy.total_joules == pytest.approx(2 * 297.5)
    assert energy.per_generated_token_joules == pytest.approx(2 * 29.75)
    assert not energy.too_coarse


@pytest.mark.parametrize("energy_j", [None, 7.0])
def test_without_a_counter_that_counts_power_is_added_up(energy_j: float | None) -> None:
    rows = [row(tenth / 10, gpus=[gpu(energy_j, power_w=200.0)]) for tenth in range(31)]
    readings = summarize(rows, 0.05, 0.15, 2.95, 10)
    assert readings is not None
    energy = readings.energy
    assert energy is not None
    assert energy.source == "power"
    assert energy.total_joules == pytest.approx(200 * 2.9)
    assert energy.prefill_joules is None, "two readings are too few"


def test_short_windows_say_that_they_are_coarse() -> None:
    rows = [row(tenth / 10, gpus=[gpu(float(tenth))]) for tenth in range(31)]
    readings = summarize(rows, 1.05, 1.1, 1.55, 10)
    assert readings is not None
    assert readings.energy is not None
    assert readings.energy.too_coarse


def test_without_counter_and_power_there_is_no_energy() -> None:
    readings = summarize([row(at_s, gpus=[gpu(None, None)]) for at_s in range(3)], 0.5, 1.0, 1.5, 1)
    assert readings is not None
    assert readings.energy is None


def test_reasons_and_strangers_are_gathered() -> None:
    rows = [
        row(0, gpus=[gpu(throttle=0x80, foreign=["9 before"])]),
        row(1, gpus=[gpu(throttle=0x4, foreign=["7 game"])]),
        row(2, gpus=[gpu(throttle=0x41)]),
        row(3, gpus=[gpu()]),
    ]
    readings = summarize(rows, 0.5, 1.0, 2.5, 1)
    assert readings is not None
    assert readings.gpus[0].throttle_reasons == ("software power cap", "hardware thermal slowdown")
    assert readings.gpus[0].foreign_processes == ("7 game",)


def sample(start_s: float, duration_s: float) -> Sample:
    return Sample(
        started_at_unix_s=0.0,
        started_at_s=start_s,
        duration_s=duration_s,
        sequences=tuple(
            Sequence(token_times_s=times_s, prompt_tokens=1, output_tokens=len(times_s), output_digest="")
            for times_s in ((duration_s / 2, duration_s), (duration_s / 4, duration_s))
        ),
    )


def test_the_window_of_a_request_comes_from_the_sampler() -> None:
    sampler = Sampler((), dict(os.environ))
    try:
        until = time.monotonic() + 20
        readings = None
        while readings is None or readings.count < 2:  # until it runs
            assert time.monotonic() < until
            start_s = time.perf_counter()
            time.sleep(3 * PERIOD_WITHOUT_GPU_S)
            readings = sampler.readings(sample(start_s, 3 * PERIOD_WITHOUT_GPU_S))
    finally:
        sampler.end()
    assert readings.other_memory_bytes is not None
    # none where this process, whose resident memory counts what it shares, is all that runs
    assert 0 <= readings.other_memory_bytes.mean < psutil.virtual_memory().total
    assert readings.other_cores is not None
    assert 0 <= readings.other_cores.mean <= (psutil.cpu_count() or 1) + 0.5


def test_the_reading_after_a_request_does_not_wait_for_its_turn() -> None:
    sampler, waits_s = Sampler((), dict(os.environ)), []
    try:
        for _ in range(9):
            start_s = time.perf_counter()
            time.sleep(0.05)
            end_s = time.perf_counter()
            waits_s.append(sampler._ask(start_s, end_s)[-1]["at_s"] - end_s)
    finally:
        sampler.end()
    # By turns it would be half a period on average; the first ones wait for the process to start.
    assert sorted(waits_s)[4] < PERIOD_WITHOUT_GPU_S / 5


def test_the_tree_is_walked_again_only_where_a_process_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, there, walks = MachineReader([], os.getpid()), [1, os.getpid()], []
    walk_tree = machine._walk_tree

    def walk() -> None:
        walks.append(1)
        walk_tree()

    monkeypatch.setattr(machine, "_walk_tree", walk)
    monkeypatch.setattr(psutil, "pids", lambda: list(there))
    machine._look_around()
    machine._look_around()
    assert len(walks) == 1
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        there.append(child.pid)
        machine._look_around()
        assert len(walks) == 2
        assert child.pid in machine._own
    finally:
        child.communicate()


def test_a_batch_starts_with_its_first_sequence_and_all_its_tokens_count(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler((), dict(os.environ))
    time.sleep(0.05)
    start_s = time.perf_counter() - 0.04
    rows = [row(start_s + number / 2000, gpus=[gpu(100.0 * number)]) for number in range(-2, 84)]
    monkeypatch.setattr(sampler, "_ask", lambda *_: rows)
    readings = sampler.readings(sample(start_s, 0.04))
    sampler.end()
    assert readings is not None
    energy = readings.energy
    assert energy is not None
    assert energy.prefill_joules == pytest.approx(energy.total_joules / 4)
    assert energy.per_generated_token_joules == pytest.approx(energy.total_joules / 4)


def test_a_request_without_tokens_has_no_readings() -> None:
    sampler = Sampler((), dict(os.environ))
    start_s = time.perf_counter()
    time.sleep(0.02)
    empty = Sequence(token_times_s=(), prompt_tokens=1, output_tokens=0, output_digest="")
    untimed = sample(start_s, 0.01).model_copy(update={"sequences": (empty,)})
    assert sampler.readings(untimed) is None
    sampler.end()


def test_the_time_of_others_is_not_its_own(tmp_path: Path) -> None:
    done = tmp_path / "done"
    program = f"import time\nwhile time.process_time() < 0.4: pass\nopen({str(done)!r}, 'w')"
    burn = [sys.executable, "-c", program]
    machine = MachineReader([], os.getpid())
    machine.read()
    before_s = machine.own_s()
    subprocess.run(burn, check=True)
    by_child_s = machine.own_s() - before_s
    before_s = machine.own_s()
    done.unlink()
    subprocess.run(["setsid", "--fork", *burn], check=True)
    until = time.monotonic() + 60
    while not done.exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    by_stranger_s = machine.own_s() - before_s
    # user's and system's time are each told in whole ticks, cut off
    least_s = 0.4 - 2 / os.sysconf("SC_CLK_TCK") - 1e-9
    assert by_child_s >= least_s
    assert by_stranger_s < least_s


def test_strangers_on_a_gpu_are_told_from_this_tool_and_from_other_countings(gpus: Callable[..., FakeNvml]) -> None:
    there = [process(os.getpid()), process(1)]
    gpus(ComputeRunningProcesses=lambda _: there, TotalEnergyConsumption=1000, CurrentClocksEventReasons=0x1)
    machine = MachineReader([2], os.getpid())
    (first,) = machine.read()["gpus"]
    assert [name.split()[0] for name in first["foreign"]] == ["1"]
    nobody = 2**22 + 1
    there.append(process(nobody))  # of another container, or this tool's own under another number
    there.append(process(os.getppid()))
    rows = [machine.read(), machine.read()]
    assert [name.split()[0] for name in rows[1]["gpus"][0]["foreign"]] == ["1", str(os.getppid())]
    middle_s = (rows[0]["at_s"] + rows[1]["at_s"]) / 2
    readings = summarize(json.loads(json.dumps(rows)), middle_s, middle_s, middle_s + 1e-9, 1)
    assert readings is not None
    assert readings.gpus[0].index == 2
    assert readings.gpus[0].throttle_reasons == (), "an idle GPU is nothing to doubt"


def test_a_clock_of_its_own_has_no_window() -> None:
    sampler = Sampler((), dict(os.environ))
    try:
        assert sampler.readings(sample(1.0, 2.0)) is None
        assert sampler.readings(sample(time.perf_counter() + 100, 2.0)) is None
    finally:
        sampler.end()


def test_a_sampler_that_was_killed_costs_its_readings_only() -> None:
    sampler = Sampler((), dict(os.environ))
    start_s = time.perf_counter()
    time.sleep(0.05)
    sampler._process.kill()
    assert sampler.readings(sample(start_s, 0.01)) is None
    sampler.end()


def test_the_sampler_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = (
        "import os, signal; from speed_benchmark.machine.readings import Sampler\n"
        "print(Sampler((), dict(os.environ))._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    pid = int(done.stdout)
    until = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.05)
