"""What a device can do at best: measured once, kept, and measured again where that was beside other work."""

import os
import time
from pathlib import Path

import pytest

from speed_benchmark import files
from speed_benchmark.machine import host, peaks
from speed_benchmark.record.machine import DevicePeaks, Gpu, Machine

QUIET = DevicePeaks(device="test", bandwidths=((1, 2.0),), flops_per_s=3.0, matrix_dtype="bfloat16", torch="2")
LOUD = QUIET.model_copy(update={"other_cores": 1.5})


def keep(found: DevicePeaks) -> None:
    files.write_cache(peaks._file(()), found.model_dump_json().encode())


@pytest.fixture
def no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which nothing can be measured, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "torch.py").write_text("raise ImportError")
    return dict(os.environ) | {"PYTHONPATH": str(tmp_path)}


def test_what_was_measured_is_kept(no_torch: dict[str, str]) -> None:
    assert peaks.known(()) is None
    keep(QUIET)
    assert peaks.known(()) == QUIET
    assert peaks.measured((), no_torch) == QUIET


def test_they_are_of_a_card_whatever_its_index_and_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cards of one kind differ by some percent."""
    card = Gpu(index=0, name="NVIDIA H200", memory_bytes=2**37, card_id="a")
    here = Machine(processor="test", cores=1, memory_bytes=1, system="test", gpus=(card,), boot_id="b")

    def file(machine: Machine) -> Path:
        monkeypatch.setattr(peaks, "describe", lambda _: machine)
        return peaks._file((0,))

    moved = here.model_copy(update={"gpus": (card.model_copy(update={"index": 3}),), "boot_id": "B"})
    other = here.model_copy(update={"gpus": (card.model_copy(update={"card_id": "A"}),)})
    assert file(here) == file(moved)
    assert file(here) != file(other)


def test_what_cannot_be_measured_is_none(no_torch: dict[str, str]) -> None:
    assert peaks.measured((), no_torch) is None
    keep(QUIET)
    assert peaks.measured((), no_torch, again=True) is None


def test_a_broken_cache_is_measured_again(no_torch: dict[str, str]) -> None:
    keep(QUIET)
    peaks._file(()).write_text('{"device": 1}')
    assert peaks.known(()) is None
    assert peaks.measured((), no_torch) is None


@pytest.mark.parametrize(("now", "kept"), [(1.5, True), (1.4, False)])
def test_beside_other_work_only_less_of_it_is_better(
    no_torch: dict[str, str], monkeypatch: pytest.MonkeyPatch, now: float, kept: bool
) -> None:
    monkeypatch.setattr(host, "other_cores", lambda: now)
    keep(LOUD)
    assert peaks.measured((), no_torch) == (LOUD if kept else None)


def test_the_best_of_several_tries() -> None:
    pytest.importorskip("torch")
    waits_s = iter([0.03, 0.03, 0.01, 0.02, 0.005] + [0.02] * 1000)
    rate = peaks._best(lambda: time.sleep(next(waits_s)), 1.0, 0.05, on_gpu=False)
    assert 100 < rate <= 200


@pytest.mark.parametrize("size", [2**20, 4 * 2**20])
def test_each_way_goes_through_all_of_the_working_set(size: int) -> None:
    torch = pytest.importorskip("torch")
    for call, moved in peaks._transfers("cpu", size):
        result = call()
        assert isinstance(result, torch.Tensor)
        cells = [cell.cell_contents for cell in getattr(call, "__closure__", None) or ()]
        held = [kept.nbytes for kept in cells if isinstance(kept, torch.Tensor)]
        assert moved == size
        if held:  # beside a matrix there is one vector
            assert sum(held) == pytest.approx(size, rel=0.02)


def test_products_count_a_multiplication_and_an_addition_each() -> None:
    pytest.importorskip("torch")
    import torch

    ((call, operations),) = peaks._product("cpu", torch.float32, 8)
    assert operations == 2 * 8**3
    product = call()
    assert isinstance(product, torch.Tensor)
    assert product.shape == (8, 8)


@pytest.mark.parametrize(("rate", "tried"), [(0.4e9, [512]), (5e9, [512, 1024]), (1e12, [512, 1024, 2048])])
def test_a_type_without_instructions_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, rate: float, tried: list[int]
) -> None:
    torch = pytest.importorskip("torch")
    sides = []

    def best(_call: object, operations: float, *_: object) -> float:
        sides.append(round((operations / 2) ** (1 / 3)))
        return rate

    monkeypatch.setattr(peaks, "_best", best)
    assert peaks._matrix_flops_per_s("cpu", torch.bfloat16, 0.4) == rate
    assert sides == tried
