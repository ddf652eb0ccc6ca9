"""What makes two measurements those of the same machine."""

from typing import Any

import pytest

from speed_benchmark.machine.describe import describe, difference
from speed_benchmark.record.machine import Gpu, Machine

GIB = 2**30
H200 = Gpu(index=0, name="NVIDIA H200", memory_bytes=141 * GIB, power_limit_w=700.0)
HERE = Machine(
    processor="Xeon", cores=64, usable_cores=64, memory_bytes=512 * GIB, system="Linux 6.1", gpus=(H200,), driver="580"
)


def changed(**values: Any) -> Machine:
    return HERE.model_copy(update=values)


def gpus(*values: dict[str, Any]) -> tuple[Gpu, ...]:
    return tuple(H200.model_copy(update=value) for value in values)


def test_a_machine_is_itself() -> None:
    assert difference(HERE, HERE) is None
    assert difference(describe(()), describe(())) is None


@pytest.mark.parametrize(
    "same",
    [
        changed(driver="590", cuda="13.1"),
        changed(system="Linux 6.8"),
        changed(memory_bytes=508 * GIB),
        changed(usable_cores=None),
        changed(gpus=gpus({"index": 3, "power_limit_w": 600.0})),
        changed(gpus=gpus({"memory_bytes": 140 * GIB})),
    ],
)
def test_what_makes_no_other_machine(same: Machine) -> None:
    assert difference(HERE, same) is None
    assert difference(same, HERE) is None


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (changed(gpus=gpus({"name": "NVIDIA A100"})), "GPUs: 1 x NVIDIA H200 and 1 x NVIDIA A100"),
        (changed(gpus=gpus({}, {"index": 1})), "GPUs: 1 x NVIDIA H200 and 2 x NVIDIA H200"),
        (changed(gpus=()), "GPUs: 1 x NVIDIA H200 and none"),
        (changed(gpus=gpus({"memory_bytes": 80 * GIB})), "GPU memory: 141.0 GiB and 80.0 GiB"),
        (changed(processor="EPYC"), "processor: Xeon and EPYC"),
        (changed(cores=32), "cores: 64 and 32"),
        (changed(usable_cores=8), "usable cores: 64 and 8"),
        (changed(memory_bytes=500 * GIB), "memory: 512.0 GiB and 500.0 GiB"),
    ],
)
def test_why_it_is_another_machine(other: Machine, why: str) -> None:
    assert difference(HERE, other) == why
    assert difference(other, HERE) is not None


def test_the_order_of_unlike_gpus_does_not_matter() -> None:
    pair = gpus({"name": "A", "memory_bytes": 1 * GIB}, {"name": "B", "memory_bytes": 2 * GIB})
    assert difference(changed(gpus=pair), changed(gpus=pair[::-1])) is None


def on(host: str | None, boot: str | None, *cards: str | None) -> Machine:
    """A machine that looks as all of its kind do."""
    known = gpus(*({"index": index, "card_id": card} for index, card in enumerate(cards)))
    return changed(host_id=host, boot_id=boot, gpus=known)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(on("h", "b", "c"), on("h", "B", "c"), id="a reboot"),
        pytest.param(on("h", "b", "c"), on("h", "B", "C"), id="another card of the host, after a reboot"),
        pytest.param(on("h", "b", "c"), on("H", "B", "c"), id="another container on the card's host"),
        pytest.param(on("h", "b", "c"), on(None, "b", "C"), id="another card, seen from a container"),
        pytest.param(on("h", "b"), on("H", "b"), id="two containers of one boot, without GPUs"),
        pytest.param(on(None, "b"), on(None, "B"), id="hosts that nothing names, without GPUs"),
        pytest.param(on("h", "b", "c", "d"), on(None, "B", "d", "e"), id="one card in common"),
        pytest.param(on("h", "b", "c"), on(None, None, None), id="an old record"),
        pytest.param(on(None, "b", "c"), on(None, None, None), id="an old record, in a container"),
        pytest.param(on("h", "b"), on(None, None), id="an old record, without GPUs"),
        pytest.param(on(None, None, None), on(None, None, None), id="two old records"),
    ],
)
def test_hosts_that_are_one(one: Machine, other: Machine) -> None:
    assert difference(one, other) is None
    assert difference(other, one) is None


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        pytest.param(on("h", "b", "c"), on("H", "B", "C"), "host: h and H", id="host and card"),
        pytest.param(on("h", "b"), on("H", "B"), "host: h and H", id="without GPUs"),
        pytest.param(on("h", "b", "c"), on("H", "B", None), "host: h and H", id="a driver that names no card"),
        pytest.param(on(None, "b", "c"), on(None, "B", "C"), "cards: c and C", id="hosts that nothing names"),
        pytest.param(on("h", "b", "d", "c"), on(None, "B", "C", "D"), "cards: c, d and C, D", id="one host unknown"),
    ],
)
def test_hosts_of_one_kind_are_told_apart(one: Machine, other: Machine, why: str) -> None:
    assert difference(one, other) == why
    assert difference(other, one) is not None


def test_what_looks_different_is_so_on_one_host_too() -> None:
    """A virtual machine that was given fewer cores is another one for what it measures."""
    assert difference(on("h", "b", "c"), on("h", "B", "c").model_copy(update={"cores": 32})) == "cores: 64 and 32"
