"""Hashes of weight files. Each is remembered with the file's size and time, so that no file is read twice for it."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from speed_benchmark import files

OnProgress = Callable[[int, int], None]


def weights_digest(weight_files: Iterable[Path], on_progress: OnProgress) -> str:
    """`sha256:` and the hash of the names and contents of `weight_files`, in whatever folder and order they are.

    Hashed are lines as `sha256sum` prints them, sorted by name. `on_progress` is told the bytes done and in all.
    """
    ordered = sorted(weight_files, key=lambda file: file.name)
    total_bytes = sum(file.stat().st_size for file in ordered)
    done_bytes = 0
    lines = []
    for file in ordered:
        on_progress(done_bytes, total_bytes)
        lines.append(f"{file_sha256(file)}  {file.name}\n")
        done_bytes += file.stat().st_size
    on_progress(done_bytes, total_bytes)
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(file: Path) -> str:
    """The SHA-256 of the contents of `file`, from the cache where neither its size nor its time has changed."""
    path = file.resolve()
    status = path.stat()
    seen = {"path": str(path), "size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    entry = files.cache_folder("digests") / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    known = _read(entry)
    if all(known.get(key) == value for key, value in seen.items()) and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    files.write_cache(entry, json.dumps(seen | {"sha256": sha256}).encode())
    return sha256


def git_blob(file: Path) -> str:
    """The name that git gives to the contents of `file`; for small files, it is not remembered."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _read(entry: Path) -> dict[str, object]:
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or not whole: it is made anew
        return {}
    return known if isinstance(known, dict) else {}
