"""Cards by name or by size of memory: what is taken for which, and what the driver said of two of them."""

import json
from pathlib import Path

import pytest

from speed_benchmark.errors import UserError
from speed_benchmark.machine.cards import cards, named

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H100", "H100"),
        ("h100 pcie", "H100-PCIe"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("4090", "RTX-4090"),
        ("a100 80gb", "A100-80GB"),
        ("A10", "A10"),
        ("L40", "L40"),
    ],
)
def test_a_card_is_known_by_what_people_call_it(text: str, name: str) -> None:
    found, card = named(text), cards()[name]
    assert (found.name, found.gpus) == (name, 1)
    assert (found.memory_bytes, found.bytes_per_s) == (card.memory_mib * 2**20, card.gb_per_s * 1e9)


@pytest.mark.parametrize(("text", "gib"), [("24GiB", 24), ("24 gb", 24), ("79.5GiB", 79.5)])
def test_a_size_of_memory_is_a_card_of_unknown_bandwidth(text: str, gib: float) -> None:
    assert (named(text).memory_bytes, named(text).bytes_per_s) == (gib * 2**30, 0)


@pytest.mark.parametrize(
    "text", ["", "X9000", "0GiB", "0.0GB", "-1GiB", "1e9GiB", "99999999GiB", "24", "nan GiB", "٢GiB"]
)
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="or a size of memory, like 24GiB"):
        named(text)


def test_a_name_of_several_cards_is_refused_with_these() -> None:
    with pytest.raises(UserError, match="name one of A100-80GB, A100-80GB-PCIe, A100-40GB, or"):
        named("A100")


@pytest.mark.parametrize(
    ("name", "driver_name", "folder"),
    [("H100", "NVIDIA H100 80GB HBM3", "nvidia-h100-batch"), ("H200", "NVIDIA H200", "nvidia-h200")],
)
def test_its_memory_is_what_the_driver_said_where_it_was_measured(name: str, driver_name: str, folder: str) -> None:
    gpus = [
        gpu for file in (RESULTS / folder).glob("*.json") for gpu in json.loads(file.read_bytes())["machine"]["gpus"]
    ]
    assert {(gpu["name"], gpu["memory_bytes"]) for gpu in gpus} == {(driver_name, cards()[name].memory_mib * 2**20)}
