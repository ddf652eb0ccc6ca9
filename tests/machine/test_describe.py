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
