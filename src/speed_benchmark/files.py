"""Files that are written whole or not at all, locks between processes, and where this user's caches are."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

# What a write that was cut off leaves behind begins and ends so.
TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".speed-benchmark-", ".tmp"
# Below a file nothing can be read or made.
_NO_CACHE = Path(os.devnull)


def cache_folder(*names: str) -> Path:
    """A folder of this user's cache of this tool: on Linux below `$XDG_CACHE_HOME/speed-benchmark`.

    A user without a home, as in a container, has none: all that would be kept there is made anew each time.
    """
    try:
        folder = platformdirs.user_cache_path("speed-benchmark", appauthor=False)
    except RuntimeError:  # no HOME, and a user id without a name
        folder = _NO_CACHE
    return folder.joinpath(*names)


def write_whole(path: Path, content: bytes, *, replace: bool = False, durable: bool = False) -> None:
    """Write a file whole or not at all; with `durable` it survives a power cut once this returns.

    Raises FileExistsError if one is there, unless it is to be `replace`d, and OSError where it can't be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY_PREFIX, suffix=TEMPORARY_SUFFIX)
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
        with suppress(OSError):  # where it can't even be removed, what went wrong before says why
            Path(temporary).unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def write_cache(path: Path, content: bytes) -> None:
    """Keep something in a cache; one that can't be written costs time only."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, replace=True)


def rename(path: Path, new: Path) -> None:
    """Give a file another name in its folder, durably."""
    path.replace(new)
    sync_folder(new.parent)


@contextmanager
def locked(path: Path, *, wait: bool = True, keep: bool = False) -> Iterator[OSError | None]:
    """Hold a lock between processes: the file `path`, which is removed with it unless it is to be `keep`t.

    Yields None, or why there is no lock: a file system without locks, a file that can't be opened. Raises
    BlockingIOError where another process holds it and this one is not to `wait`. The kernel lets go of the lock of a
    process that died; its file stays until the next one takes it.
    """
    # A soft lock, a file that counts by being there, would work everywhere; but that of a process that was killed would
    # shut out all others for ever. So it is for the caller to go on without one.
    descriptor = refusal = None
    try:
        descriptor = _lock(path, wait=wait)
    except BlockingIOError:
        raise
    except OSError as error:
        refusal = error
    try:
        yield refusal
    finally:
        if descriptor is not None:
            if not keep:
                with suppress(OSError):  # while it is held: whoever waits sees that it lost its name, and starts anew
                    path.unlink()
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(path: Path, *, wait: bool) -> int:
    """A descriptor of the file `path`, locked until it is closed."""
    while True:
        try:
            descriptor = _locked(path, os.O_RDONLY, wait=wait)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            descriptor = _locked(path, os.O_RDWR, wait=wait)  # NFS asks for that
        if _has_name(descriptor, path):
            return descriptor
        os.close(descriptor)


def _locked(path: Path, access: int, *, wait: bool) -> int:
    """A descriptor of the file `path`, locked; the file is made if it is not there, for all who may write there.

    Opened for reading another user's can be locked too, and the file system can still be made read-only meanwhile.
    """
    descriptor = os.open(path, access | os.O_CREAT | os.O_NONBLOCK, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _has_name(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one called `path`: who held the lock before may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _name(temporary: str, path: Path) -> None:
    """Give a file its name, unless that is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if path.exists():  # a file system without links
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        Path(temporary).replace(path)
