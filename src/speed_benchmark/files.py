"""Files that are written whole or not at all, locks between processes, and where this user's caches are."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs


def cache_folder(*names: str) -> Path:
    """A folder of this user's cache of this tool: on Linux below `$XDG_CACHE_HOME/speed-benchmark`."""
    return platformdirs.user_cache_path("speed-benchmark", appauthor=False).joinpath(*names)


def write_whole(path: Path, content: bytes, *, replace: bool = False, durable: bool = False) -> None:
    """Write a file whole or not at all; with `durable` it survives a power cut once this returns.

    Raises FileExistsError if one is there, unless it is to be `replace`d, and OSError where it can't be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            if durable:
                os.fsync(file.fileno())
        if replace:
            Path(temporary).replace(path)
        else:
            _name(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def write_cache(path: Path, content: bytes) -> None:
    """Keep something in a cache; one that can't be written costs time only."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, replace=True)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock between processes: the file `path`, which is removed with it.

    Raises BlockingIOError where another process holds it and this one is not to `wait`. The kernel lets go of the lock
    of a process that died; its file stays until the next one takes it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        raise BlockingIOError(errno.EWOULDBLOCK, "locked by another process", str(path)) from None
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held: whoever waits for it sees that it has no name, and starts anew
            path.unlink()
        lock.release()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(temporary: str, path: Path) -> None:
    """Give a file its name, unless that is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if path.exists():  # a file system without links
            raise FileExistsError(path) from None
        Path(temporary).replace(path)
