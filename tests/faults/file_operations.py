"""The file operations of durable writing, one by one: to stop at any of them, or to see what a power cut leaves."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark import files


@dataclass(frozen=True)
class Operation:
    """What was done: create, write, sync, link, remove or sync_folder; `file` is the number of what it was done to."""

    kind: str
    file: int = 0
    name: str = ""
    content: bytes = b""


class Watched:
    """What `files` works with, each call noted in `log`; `before` is told how many were done before it.

    A write is two operations, so that one can stop in the middle of it.
    """

    def __init__(self, before: Callable[[int], object] = lambda _: None) -> None:
        self.log: list[Operation] = []
        self._before = before
        self._done = 0
        self._files: dict[int, int] = {}  # inode -> number
        self._folders: set[int] = set()  # open descriptors

    def install(self, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
        """Let `files` work through this, for good or as long as `monkeypatch` says."""
        patch = monkeypatch.setattr if monkeypatch else setattr
        patch(files, "os", _Calls(os, {name: getattr(self, name) for name in ("open", "fdopen", "fsync", "link")}))
        patch(files, "tempfile", _Calls(tempfile, {"mkstemp": self.mkstemp}))
        patch(files, "Path", self.path)
        patch(files, "rename", self.rename)

    def open(self, path: Path, flags: int, *more: int) -> int:
        self._next()
        descriptor = os.open(path, flags, *more)
        if flags & os.O_DIRECTORY:
            self._folders.add(descriptor)
        return descriptor

    def mkstemp(self, **options: Any) -> tuple[int, str]:
        self._next()
        descriptor, name = tempfile.mkstemp(**options)
        self._note("create", descriptor, Path(name).name)
        return descriptor, name

    def fdopen(self, descriptor: int, _mode: str) -> "_File":
        return _File(self, descriptor)

    def write(self, descriptor: int, content: bytes) -> None:
        for part in (content[: len(content) // 2], content[len(content) // 2 :]):
            self._next()
            os.write(descriptor, part)
            self._note("write", descriptor, content=part)

    def fsync(self, descriptor: int) -> None:
        self._next()
        os.fsync(descriptor)
        folder = descriptor in self._folders
        self._note("sync_folder" if folder else "sync", descriptor)
        self._folders.discard(descriptor)

    def link(self, source: str, target: Path) -> None:
        self._next()
        os.link(source, target)
        self._note("link", source, target.name)

    def rename(self, path: Path, new: Path) -> None:
        self._next()
        self._note("remove", str(path), path.name)
        path.replace(new)
        self._note("link", str(new), new.name)
        files.sync_folder(new.parent)

    def path(self, name: str) -> "_Path":
        """What `files` makes of a name."""
        return _Path(self, Path(name))

    def remove(self, path: Path) -> None:
        self._next()
        if path.exists():
            self._note("remove", str(path), path.name)
            path.unlink()

    def replace(self, path: Path, target: Path) -> None:
        self._next()
        path.replace(target)
        self._note("link", str(target), target.name)

    def _next(self) -> None:
        self._before(self._done)
        self._done += 1

    def _note(self, kind: str, file: int | str, name: str = "", content: bytes = b"") -> None:
        inode = os.stat(file).st_ino  # noqa: PTH116 - a path or a descriptor
        self.log.append(Operation(kind, self._files.setdefault(inode, len(self._files)), name, content))


class _File:
    """What `os.fdopen` gives."""

    def __init__(self, watched: Watched, descriptor: int) -> None:
        self._watched, self._descriptor = watched, descriptor

    def write(self, content: bytes) -> None:
        self._watched.write(self._descriptor, content)

    def flush(self) -> None:
        """Nothing is buffered."""

    def fileno(self) -> int:
        return self._descriptor

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class _Path:
    """What `files.Path` makes of a temporary file's name."""

    def __init__(self, watched: Watched, path: Path) -> None:
        self._watched, self._path = watched, path

    def unlink(self, *, missing_ok: bool) -> None:
        assert missing_ok
        self._watched.remove(self._path)

    def replace(self, target: Path) -> None:
        self._watched.replace(self._path, target)


class _Calls:
    """A module with some of its functions replaced."""

    def __init__(self, module: Any, calls: dict[str, Callable[..., Any]]) -> None:
        self._module, self._calls = module, calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._module, name)
