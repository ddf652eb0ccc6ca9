"""How the package is divided: rooms, floors and import arrows, of this tree and of another commit.

A room is what stands at the top of the package: a folder, or a file by itself. An arrow goes from one room to another
that it imports; several imports between two rooms are one arrow. An arrow up is one of a pair that go both ways. Floors
are how deep rooms stand on each other: a room that imports none stands on the ground. Counted by grimp, imports inside
functions and for type checkers included.

usage: rooms.py [COMMIT]
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

PACKAGE = "speed_benchmark"


def arrows(source: Path) -> dict[str, set[str]]:
    """Room -> the rooms that it imports, of the package below `source`."""
    sys.path.insert(0, str(source))
    try:
        graph = grimp.build_graph(PACKAGE, cache_dir=None)
    finally:
        sys.path.remove(str(source))
    rooms: dict[str, set[str]] = {name.split(".")[1]: set() for name in graph.modules if "." in name}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            one, other = (name.split(".")[1] if "." in name else "" for name in (importer, imported))
            if one and other and one != other:
                rooms[one].add(other)
    return rooms


def floors(rooms: dict[str, set[str]]) -> str:
    """How many floors the rooms stand on, or the circle that keeps them from having any."""
    try:
        order = list(TopologicalSorter(rooms).static_order())
    except CycleError as error:
        return f"none, for {' -> '.join(error.args[1])} is a circle"
    height: dict[str, int] = {}
    for room in order:
        height[room] = 1 + max((height[below] for below in rooms[room]), default=0)
    return str(max(height.values()))


def show(name: str, rooms: dict[str, set[str]]) -> None:
    """Print what there is."""
    count = sum(map(len, rooms.values()))
    both = sum(one in rooms[other] for one, others in rooms.items() for other in others) // 2
    print(f"{name}: {len(rooms)} rooms, {count} arrows, {both} of them up, floors: {floors(rooms)}")


def main() -> int:
    """Count this tree, and the commit that is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("commit", nargs="?")
    commit = parser.parse_args().commit
    root = Path(__file__).resolve().parents[1]
    if commit:
        git = ["git", "-C", str(root), "archive", commit, "src"]
        packed = subprocess.run(git, capture_output=True, check=True).stdout
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(folder, filter="data")
            show(commit, arrows(Path(folder) / "src"))
    show("this tree", arrows(root / "src"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
