"""Which machine it is: salted hashes of the ids of a host, of its boot and of a card.

The salt is a constant of this tool, so that anybody can tell whether two records are of one machine. Only ids of some
122 random bits are hashed, which no search turns back; names of hosts and users, network addresses and times are not.
"""

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal

_SALT = "speed-benchmark: identity of a machine"
_LETTERS = 16
_RANDOM_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_CONTAINER_MARKS = (".dockerenv", "run/.containerenv")
_IMAGE_SYSTEMS = {"overlay", "squashfs"}
_ROOT = Path("/")


def host_id(root: Path = _ROOT) -> str | None:
    """The id of the system that is installed on this host, of the board in a container; None where neither is known.

    Two different ids are of two hosts, or of two systems of one. Two equal ones are of one host unless one was cloned
    from the other with its /etc/machine-id. In a container, where that file is the image's and alike on all hosts, the
    board's UUID stands in: only root may read it, and small virtual machines have none. It outlasts reboots.
    """
    found = _read(root / "sys/class/dmi/id/product_uuid" if _is_container(root) else root / "etc/machine-id")
    return hashed("host", found) if found else None


def boot_id(root: Path = _ROOT) -> str | None:
    """The id that the Linux kernel made when it booted; None on another system.

    Two equal ids are of one host, of one boot, in whatever container. Two different ones say nothing about the host.
    """
    found = _read(root / "proc/sys/kernel/random/boot_id")
    return hashed("boot", found) if found else None


def hashed(kind: Literal["host", "boot", "card"], identity: str) -> str:
    """What a record keeps of an id; the same id of another kind is another hash."""
    return hashlib.sha256(f"{_SALT}\n{kind}\n{identity}".encode()).hexdigest()[:_LETTERS]


def _read(file: Path) -> str | None:
    """The id in a file; None where there is none, or something else ("uninitialized")."""
    with suppress(OSError, UnicodeDecodeError):
        found = file.read_text().strip().lower()
        return found if _RANDOM_ID.fullmatch(found) else None
    return None


def _is_container(root: Path) -> bool:
    """Whether its files are an image's: by the marks that Docker and Podman leave, or by the file system of `/`."""
    if any((root / mark).exists() for mark in _CONTAINER_MARKS):
        return True
    try:
        mounts = [line.split() for line in (root / "proc/self/mounts").read_text().splitlines()]
    except OSError:
        return False
    return any(where == "/" and kind in _IMAGE_SYSTEMS for _, where, kind, *_ in mounts)
