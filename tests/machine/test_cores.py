"""Which cores workers get: on written topologies, and on this machine's."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from speed_benchmark.machine.cores import Topology, shares, topology


def siblings(*pairs: tuple[int, ...]) -> dict[int, frozenset[int]]:
    return {core: frozenset(pair) for pair in pairs for core in pair}


HALVES = siblings(*((core, core + 8) for core in range(8)))
PAIRS = siblings(*((core, core + 1) for core in range(0, 16, 2)))


def nodeless(*gpus: int) -> dict[int, int | None]:
    return dict.fromkeys(gpus)


def check_whole(found: Mapping[int, tuple[int, ...]], known: Topology, usable: set[int]) -> None:
    """No core belongs to two workers, neither does one of its threads, and none that may not be used."""
    taken = [core for cores in found.values() for core in cores]
    assert len(taken) == len(set(taken))
    assert set(taken) <= usable
    for cores in found.values():
        for core in cores:
            assert known.siblings.get(core, frozenset({core})) & usable <= set(cores)


def test_siblings_half_the_machine_apart() -> None:
    found = shares(Topology(HALVES), range(16), nodeless(0, 1))
    assert found == {0: (0, 1, 2, 3, 8, 9, 10, 11), 1: (4, 5, 6, 7, 12, 13, 14, 15)}


def test_siblings_side_by_side() -> None:
    found = shares(Topology(PAIRS), range(16), nodeless(0, 1, 2))
    assert found == {0: (0, 1, 2, 3), 1: (4, 5, 6, 7), 2: (8, 9, 10, 11)}, "four threads are left over"


def test_without_a_topology_each_number_is_a_core() -> None:
    assert shares(Topology(), range(5), nodeless(3, 7)) == {3: (0, 1), 7: (2, 3)}


def test_two_nodes_with_four_gpus_each() -> None:
    """64 threads on 32 cores: those of the first node are 0 to 15 and 32 to 47, as on most servers of two sockets."""
    known = Topology(
        siblings(*((core, core + 32) for core in range(32))),
        {0: frozenset([*range(16), *range(32, 48)]), 1: frozenset([*range(16, 32), *range(48, 64)])},
    )
    nodes = {gpu: 0 if gpu in (0, 2, 5, 7) else 1 for gpu in range(8)}
    found = shares(known, range(64), nodes)
    check_whole(found, known, set(range(64)))
    assert {len(cores) for cores in found.values()} == {8}
    for gpu, cores in found.items():
        assert set(cores) <= known.nodes[nodes[gpu]]


def test_the_nodes_cores_go_as_far_as_they_do() -> None:
    """Three GPUs on the first of two nodes of four cores each, one on the second: two cores for each."""
    known = Topology({}, {0: frozenset(range(4)), 1: frozenset(range(4, 8))})
    found = shares(known, range(8), {0: 0, 1: 0, 2: 0, 3: 1})
    check_whole(found, known, set(range(8)))
    assert {len(cores) for cores in found.values()} == {2}
    assert found[3] == (4, 5)
    assert [len(known.nodes[0].intersection(found[gpu])) for gpu in (0, 1, 2)] == [2, 1, 1]


def test_a_gpu_of_an_unknown_node_gets_what_is_left() -> None:
    known = Topology({}, {0: frozenset({0, 1}), 1: frozenset({2, 3})})
    assert shares(known, range(4), {0: None, 1: 0}) == {0: (2, 3), 1: (0, 1)}
    assert shares(known, range(4), {0: 9, 1: 0}) == {0: (2, 3), 1: (0, 1)}


def test_only_cores_that_may_be_used() -> None:
    """A control group allows both threads of cores 2 and 3, and one of core 4."""
    usable = {2, 3, 4, 10, 11}
    found = shares(Topology(HALVES), usable, nodeless(0, 1, 2))
    check_whole(found, Topology(HALVES), usable)
    assert found == {0: (2, 10), 1: (3, 11), 2: (4,)}


def test_fewer_cores_than_gpus_are_nobodys() -> None:
    """Two threads of one core are one: they would be the worst pair of places."""
    assert shares(Topology(HALVES), {0, 8}, nodeless(0, 1)) == {0: (), 1: ()}
    assert shares(Topology(), (), nodeless(0)) == {0: ()}
    assert shares(Topology(HALVES), range(16), {}) == {}


def write(system: Path, name: str, content: str) -> None:
    file = system / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_the_files_of_linux(tmp_path: Path) -> None:
    for core in (0, 1, 2, 10):
        write(tmp_path, f"cpu/cpu{core}/topology/thread_siblings_list", f"{core % 2},{core % 2 + 2}\n")
    write(tmp_path, "cpu/cpufreq/boost", "1")
    write(tmp_path, "node/node0/cpulist", "0-1,4,6-7\n")
    write(tmp_path, "node/node1/cpulist", "\n")  # memory without cores
    found = topology(tmp_path)
    assert found.siblings == {0: {0, 2}, 1: {1, 3}, 2: {0, 2}, 10: {0, 2}}
    assert found.nodes == {0: {0, 1, 4, 6, 7}, 1: set()}


def test_a_system_without_these_files(tmp_path: Path) -> None:
    (tmp_path / "cpu/cpu0").mkdir(parents=True)
    assert shares(topology(tmp_path), range(2), nodeless(0)) == {0: (0, 1)}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux alone binds processes to cores")
def test_this_machine() -> None:
    known, usable = topology(), os.sched_getaffinity(0)
    (all_cores,) = shares(known, usable, nodeless(0)).values()
    assert set(all_cores) == usable
    check_whole(shares(known, usable, nodeless(0, 1)), known, usable)
