"""Who a machine is: ids of files that are not this machine's, and what must not be in them."""

import re
from pathlib import Path

import pytest

from speed_benchmark.machine.identity import boot_id, hashed, host_id

MACHINE, BOARD, BOOT = (letter * 8 + "-1111-4111-8111-" + letter * 12 for letter in "abc")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of a machine outside any container."""
    put(tmp_path, "etc/machine-id", MACHINE.replace("-", "") + "\n")
    put(tmp_path, "sys/class/dmi/id/product_uuid", BOARD.upper() + "\n")
    put(tmp_path, "proc/sys/kernel/random/boot_id", BOOT + "\n")
    put(tmp_path, "proc/self/mounts", "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw,relatime 0 0\n")
    return tmp_path


def put(root: Path, name: str, content: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_the_installed_system_names_a_host(root: Path) -> None:
    assert host_id(root) == hashed("host", MACHINE.replace("-", ""))
    put(root, "etc/machine-id", "d" * 32)
    assert host_id(root) == hashed("host", "d" * 32)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("proc/self/mounts", "overlay / overlay rw,relatime,lowerdir=/a 0 0\nproc /proc proc rw 0 0\n"),
    ],
)
def test_in_a_container_the_board_does(root: Path, name: str, content: str) -> None:
    """The image's machine-id would be alike on all hosts."""
    put(root, name, content)
    assert host_id(root) == hashed("host", BOARD)
    (root / "sys/class/dmi/id/product_uuid").unlink()
    assert host_id(root) is None


def test_an_overlay_elsewhere_makes_no_container(root: Path) -> None:
    put(root, "proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\noverlay /var/lib/docker/overlay2/a overlay rw 0 0\n")
    assert host_id(root) == hashed("host", MACHINE.replace("-", ""))


@pytest.mark.parametrize("content", ["", "uninitialized\n", "b" * 31, "my-laptop", "\udcff"])
def test_what_is_no_id_identifies_nothing(root: Path, content: str) -> None:
    for name in ("etc/machine-id", "proc/sys/kernel/random/boot_id"):
        (root / name).write_bytes(content.encode(errors="surrogateescape"))
    assert host_id(root) is None
    assert boot_id(root) is None


def test_without_the_files_of_linux_nothing_is_known(tmp_path: Path) -> None:
    assert host_id(tmp_path) is None
    assert boot_id(tmp_path) is None


def test_the_boot(root: Path) -> None:
    assert boot_id(root) == hashed("boot", BOOT)


def test_hashes_are_short_and_told_apart_by_kind() -> None:
    """Another salt, kind or length would make strangers of all records that exist."""
    assert hashed("card", "GPU-1") == "2ad58f346c734518"
    assert len({hashed("host", BOOT), hashed("boot", BOOT), hashed("card", BOOT)}) == 3
    assert re.fullmatch("[0-9a-f]{16}", hashed("host", MACHINE))
