"""The processor's cores: which threads share one, which memory they are near to, and whose they are.

A core with two hardware threads counts as two cores for the system ("siblings"); they share its units and its caches,
so that two programs on them slow each other down.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_SYSTEM = Path("/sys/devices/system")


@dataclass(frozen=True)
class Topology:
    """What Linux tells: `siblings` of each core, itself among them, and the `nodes` (NUMA) with their cores.

    A core that is in neither stands alone, and is near to nothing.
    """

    siblings: Mapping[int, frozenset[int]] = field(default_factory=dict)
    nodes: Mapping[int, frozenset[int]] = field(default_factory=dict)


def topology(system: Path = _SYSTEM) -> Topology:
    """That of this machine; empty where the system has no such files."""
    return Topology(
        siblings={
            number: _cores(folder / "topology/thread_siblings_list") for number, folder in _numbered(system, "cpu")
        },
        nodes={number: _cores(folder / "cpulist") for number, folder in _numbered(system, "node")},
    )


def shares(topology: Topology, usable: Collection[int], nodes: Mapping[int, int | None]) -> dict[int, tuple[int, ...]]:
    """The cores of each GPU's worker, `nodes` being the GPUs with their NUMA node: equally many whole cores for each.

    They are near to the GPU as far as the node's cores go round; the rest are any that are left. () where there are
    fewer cores than GPUs.
    """
    left = _whole(topology, usable)
    size = len(left) // len(nodes) if nodes else 0
    taken: dict[int, list[tuple[int, ...]]] = {gpu: [] for gpu in nodes}
    for node, near in topology.nodes.items():
        of_node = [gpu for gpu, its_node in nodes.items() if its_node == node]
        near_cores = [core for core in left if near.issuperset(core)]
        each = min(size, len(near_cores) // max(1, len(of_node)))
        for place, gpu in enumerate(of_node):
            taken[gpu] = near_cores[place * each : (place + 1) * each]
            left = [core for core in left if core not in taken[gpu]]
    for gpu, near_cores in taken.items():
        missing = size - len(near_cores)
        taken[gpu], left = [*near_cores, *left[:missing]], left[missing:]
    return {gpu: tuple(sorted(thread for core in its_cores for thread in core)) for gpu, its_cores in taken.items()}


def _whole(topology: Topology, usable: Collection[int]) -> list[tuple[int, ...]]:
    """The usable threads of each core that has any, by their first."""
    allowed = frozenset(usable)
    cores = {tuple(sorted(allowed & topology.siblings.get(one, frozenset()) | {one})) for one in allowed}
    return sorted(cores)


def _numbered(system: Path, kind: str) -> list[tuple[int, Path]]:
    """The folders cpu0, cpu1, … with their numbers."""
    folders = (system / kind).glob(f"{kind}[0-9]*")
    return sorted((int(folder.name.removeprefix(kind)), folder) for folder in folders)


def _cores(file: Path) -> frozenset[int]:
    """The numbers in a list such as `0-3,8`; none where there is no such file."""
    with suppress(OSError):
        ranges = [part.split("-") for part in file.read_text().strip().split(",") if part]
        return frozenset(core for one in ranges for core in range(int(one[0]), int(one[-1]) + 1))
    return frozenset()
