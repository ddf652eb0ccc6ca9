"""Readings of GPUs that are not there, and the reasons not to start on them."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from speed_benchmark.machine import idle, nvml
from speed_benchmark.machine.identity import hashed
from speed_benchmark.run.environment import worker_environment
from tests.machine.fake_pynvml import FakeNvml, NVMLError, memory, process

Put = Callable[..., FakeNvml]
IDLE = {"MemoryInfo": memory(2**20), "UtilizationRates": SimpleNamespace(gpu=0), "ComputeRunningProcesses": []}


def test_a_driver_that_answers_nothing_gives_none(gpus: Put) -> None:
    gpus()
    assert nvml.read(0) == {
        **dict.fromkeys(("sm_clock_mhz", "memory_clock_mhz", "temperature_c", "power_w", "utilization_percent")),
        "memory_used_bytes": None,
        "energy_j": None,
        "throttle": 0,
        "processes": (),
    }
    assert nvml.used_memory_bytes((0,)) is None
    assert nvml.process_memory_bytes((0,), [1]) is None
    assert idle.busy((0,)) == ()


def test_units(gpus: Put) -> None:
    gpus(
        PowerUsage=350_500,
        TotalEnergyConsumption=12_345,
        ClockInfo=lambda _, kind: {1: 1980, 2: 2619}[kind],
        CurrentClocksEventReasons=0x4,
        ComputeRunningProcesses=[process(7), process(7), process(3)],
    )
    reading = nvml.read(0)
    assert (reading["power_w"], reading["energy_j"]) == (350.5, 12.345)
    assert (reading["sm_clock_mhz"], reading["memory_clock_mhz"]) == (1980, 2619)
    assert reading["processes"] == (3, 7)
    assert nvml.THROTTLE_REASONS[reading["throttle"]] == "software power cap"


def test_an_older_driver_names_throttle_reasons_otherwise(gpus: Put) -> None:
    gpus(CurrentClocksThrottleReasons=0x40)
    assert nvml.read(0)["throttle"] == 0x40


def test_memory_of_processes_is_summed_over_gpus(gpus: Put) -> None:
    gpus(ComputeRunningProcesses=[process(1, 5), process(2, 7), process(3, 11)])
    assert nvml.process_memory_bytes((0, 1), [1, 3]) == 2 * (5 + 11)
    assert nvml.process_memory_bytes((0,), [4]) is None


def test_what_the_driver_keeps_for_itself_makes_no_gpu_busy(gpus: Put) -> None:
    reserved = 600 * 2**20
    gpus(**IDLE | {"MemoryInfo": lambda _, version=None: memory(2**20 if version else reserved)})
    assert idle.busy((0,)) == ()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"ComputeRunningProcesses": [process(os.getpid())]}, f"GPU 3 is used by process {os.getpid()} ("),
        ({"ComputeRunningProcesses": [process(2**22 + 1)]}, f"GPU 3 is used by process {2**22 + 1}"),
        ({"MemoryInfo": memory(4 * 2**30)}, "GPU 3 has 4.0 GiB taken"),
        ({"UtilizationRates": SimpleNamespace(gpu=97)}, "GPU 3 is 97 % busy"),
    ],
    ids=["this process", "an unknown process", "memory", "utilization"],
)
def test_a_busy_gpu_is_told(gpus: Put, changed: dict[str, object], text: str) -> None:
    gpus(**IDLE | changed)
    (reason,) = idle.busy((3,))
    assert reason.startswith(text)


def test_waits_until_others_have_ended(gpus: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "_POLL_S", 0.01)
    monkeypatch.setattr(idle, "STILL_S", 0.05)
    answers = iter([90] * 3)
    gpus(**IDLE | {"UtilizationRates": lambda _: SimpleNamespace(gpu=next(answers, 0))})
    assert idle.wait((0,), 0.0, lambda: False) == ()


def test_a_pause_of_others_is_not_idleness(gpus: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "_POLL_S", 0.01)
    monkeypatch.setattr(idle, "STILL_S", 0.2)
    monkeypatch.setattr(idle, "SETTLE_S", 0.5)
    busy_percent = iter([90, 0, 0] * 1000)
    gpus(**IDLE | {"UtilizationRates": lambda _: SimpleNamespace(gpu=next(busy_percent))})
    assert idle.wait((0,), 0.0, lambda: False) == ("GPU 0 is 90 % busy",)


def test_a_lost_gpu_is_no_error(gpus: Put) -> None:
    gpus(MemoryInfo=NVMLError, ComputeRunningProcesses=NVMLError)
    assert nvml.state(0).memory_used_bytes is None


ONE, TWO = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-89aa0000-0000-4000-8000-000000000000"
MIG = "MIG-31f1c1aa-0000-4000-8000-000000000000"
HANDLES = {ONE: "gpu 0", TWO: "gpu 1", MIG: "part of gpu 1"}


def test_a_card_has_an_identity_and_not_its_uuid(gpus: Put) -> None:
    uuids = {"gpu 0": ONE, "gpu 1": TWO}
    gpus(UUID=lambda handle: uuids[handle])
    ids = [nvml.describe(index).card_id for index in (0, 1)]
    assert ids == [hashed("card", ONE), hashed("card", TWO)]
    gpus()
    assert nvml.describe(0).card_id is None


@pytest.mark.parametrize(("content", "node"), [("1\n", 1), ("0\n", 0), ("-1\n", None), (None, None)])
def test_the_numa_node_is_that_of_the_pci_device(
    gpus: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, node: int | None
) -> None:
    monkeypatch.setattr(nvml, "_PCI_DEVICES", tmp_path)
    if content:
        (tmp_path / "0000:c1:00.0").mkdir()
        (tmp_path / "0000:c1:00.0/numa_node").write_text(content)
    gpus(PciInfo=SimpleNamespace(domain=0, bus=0xC1, device=0))
    assert nvml.numa_node(0) == node


def test_a_driver_that_does_not_say_where_a_card_is(gpus: Put) -> None:
    gpus()
    assert nvml.numa_node(0) is None


@pytest.fixture
def two_gpus(gpus: Put) -> None:
    """Two GPUs, the second of which has a MIG device."""
    gpus(
        Count=2,
        HandleByUUID=lambda uuid: HANDLES.get(uuid, NVMLError),
        DeviceHandleFromMigDeviceHandle={"part of gpu 1": "gpu 1"}.get,
        UUID={"gpu 0": ONE, "gpu 1": TWO}.get,
        Index={"gpu 0": 0, "gpu 1": 1}.get,
    )


@pytest.mark.parametrize(
    ("name", "index"),
    [
        (ONE, 0),
        (TWO, 1),
        ("GPU-8932", 0),
        ("GPU-89a", 1),
        ("GPU-89", None),
        ("GPU-ffff", None),
        (MIG, 1),
        ("MIG-ffff", None),
        ("", None),
        ("0", None),
    ],
)
@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_found_by_its_uuid(name: str, index: int | None) -> None:
    assert nvml.index_of(name) == index


def test_without_a_driver_no_uuid_is_found(gpus: Put) -> None:
    gpus()
    assert nvml.index_of(ONE) is None
    assert nvml.index_of(MIG) is None


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["0", "1"]),
        ("1,0", ["0", "1"]),
        (f"{TWO},{ONE}", ["0", "1"]),
        (MIG, ["0", MIG]),
        (f"{ONE}, {MIG}", ["0", MIG]),
        ("MIG-ffff", ["0", "1"]),
    ],
)
@pytest.mark.usefixtures("two_gpus")
def test_cuda_is_told_the_index_or_the_mig_device(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [nvml.cuda_name(0), nvml.cuda_name(1)] == names
    assert worker_environment((0, 1))["CUDA_VISIBLE_DEVICES"] == ",".join(names)
