"""Hugging Face, or a mirror of it, through its own client."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import ClassVar, Self, TypeVar

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # the client reads it once; a request less

import httpx2
from huggingface_hub import HfApi, constants, errors, hf_hub_download
from huggingface_hub.hf_api import RepoFile

from speed_benchmark.models.hub import repository
from speed_benchmark.models.hub.repository import FetchError, OnBytes, RemoteFile

T = TypeVar("T")

LOGIN = "hf auth login"
CURES = "set HF_ENDPOINT to a mirror, use --use_modelscope"
PARALLEL_FILES = 4
TRIES = 3
MAX_WAIT_S = 60.0
BUSY = (429, 500, 502, 503, 504)


class HuggingFace:
    """One model on Hugging Face."""

    source: ClassVar[str] = "huggingface"

    def __init__(self, name: str) -> None:
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # it logs whole addresses
        self.name = name
        self._api = HfApi()

    def commit(self, revision: str | None) -> str:
        """The commit of `revision`; where the hub can't be reached, the one it was at when it last could."""
        with self._translate_errors(revision):
            resolved = _retry(lambda: self._api.resolve_revision(self.name, revision=revision))
        return str(resolved.resolved)

    def folder(self, commit: str) -> Path:
        """The snapshot in the client's cache."""
        return Path(constants.HF_HUB_CACHE) / f"models--{self.name.replace('/', '--')}" / "snapshots" / commit

    def listing(self, commit: str) -> list[RemoteFile]:
        """The files at the top of `commit`; offline, those of them that are in the cache."""
        if constants.is_offline_mode():
            return self._cached(commit)
        with self._translate_errors(commit):
            entries = _retry(lambda: list(self._api.list_repo_tree(self.name, revision=commit)))
        return [
            RemoteFile(entry.path, entry.size, sha256=entry.lfs.sha256 if entry.lfs else None, git_blob=entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        ]

    def fetch(self, commit: str, files: Sequence[RemoteFile], on_bytes: OnBytes) -> None:
        """Download `files`, several at a time; one that breaks off goes on where it was, and an interrupt ends all."""
        stop = Event()

        def count(count_bytes: int) -> None:
            if stop.is_set():
                raise _StoppedError
            on_bytes(count_bytes)

        bar = type("ProgressBar", (_ProgressBar,), {"on_bytes": staticmethod(count)})

        def get(file: RemoteFile) -> None:
            _retry(partial(hf_hub_download, self.name, file.name, revision=commit, tqdm_class=bar))

        with self._translate_errors(commit), ThreadPoolExecutor(PARALLEL_FILES) as pool:
            try:
                for _ in pool.map(get, files):
                    pass
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _cached(self, commit: str) -> list[RemoteFile]:
        """The cache names each file by its contents: by SHA-256 the large ones, by git's name the others."""
        folder = self.folder(commit)
        if not folder.is_dir():
            raise FetchError(f"{self.name} at {commit} is not in the cache, and HF_HUB_OFFLINE is set; unset it")
        found = []
        for path in folder.iterdir():
            etag = path.resolve().name if path.is_symlink() else ""
            sha256, git_blob = (etag if len(etag) == length else None for length in (64, 40))
            found.append(RemoteFile(path.name, path.stat().st_size, sha256=sha256, git_blob=git_blob))
        return found

    @contextmanager
    def _translate_errors(self, revision: str | None) -> Iterator[None]:
        """Raise the client's errors as FetchError. Its own messages hold addresses, so none of them is passed on."""
        endpoint = constants.ENDPOINT
        try:
            yield
        except errors.GatedRepoError:
            raise repository.not_allowed(self.name, endpoint, LOGIN) from None
        except errors.RevisionNotFoundError:
            raise repository.no_revision(self.name, revision, endpoint) from None
        except errors.RepositoryNotFoundError:
            raise repository.no_model(self.name, endpoint, LOGIN) from None
        except errors.HfHubHTTPError as error:
            raise self._http_error(error) from None
        except (errors.RevisionResolutionError, errors.LocalEntryNotFoundError) as error:
            cause = error.__cause__
            if isinstance(cause, errors.HfHubHTTPError):
                raise self._http_error(cause) from None
            if isinstance(cause, errors.FileMetadataError):
                raise repository.no_hub(endpoint, "HF_ENDPOINT") from None
            if isinstance(cause, errors.OfflineModeIsEnabled):
                raise FetchError(f"{self.name} is not in the cache, and HF_HUB_OFFLINE is set; unset it") from None
            raise repository.no_network(endpoint, type(cause or error).__name__, CURES) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.InvalidURL) as error:
            raise repository.no_network(endpoint, type(error).__name__, CURES) from None
        except httpx2.TransportError as error:
            raise repository.broken_off(self.name, endpoint, type(error).__name__) from None
        except (ValueError, KeyError, TypeError, AssertionError):
            raise repository.no_hub(endpoint, "HF_ENDPOINT") from None
        except OSError as error:
            why = error.strerror or "a file is not of the size that was announced"
            raise repository.broken_off(self.name, endpoint, why) from None

    def _http_error(self, error: errors.HfHubHTTPError) -> FetchError:
        status = error.response.status_code
        if status == 401:
            return repository.bad_token(constants.ENDPOINT, "HF_TOKEN", LOGIN)
        if status == 403:
            return repository.not_allowed(self.name, constants.ENDPOINT, LOGIN)
        if status in BUSY:
            return repository.busy(constants.ENDPOINT, status)
        return FetchError(f"{repository.host(constants.ENDPOINT)} answers {status} for {self.name}; check HF_ENDPOINT")


class _StoppedError(Exception):
    """Another file has failed, or the user has asked to stop."""


class _ProgressBar:
    """What the client takes for a progress bar."""

    on_bytes: ClassVar[OnBytes]

    def __init__(self, *_: object, initial: int = 0, **__: object) -> None:
        if initial:
            self.update(initial)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, count_bytes: float | None = 1) -> None:
        """Bytes have been written."""
        type(self).on_bytes(int(count_bytes or 0))

    def update_transfer(self, count_bytes: float | None = 1) -> None:
        """Bytes have come over the network; they are counted once they are written."""

    def set_postfix_str(self, *_: object, **__: object) -> None:
        """A speed, which nobody sees here."""

    set_transfer_postfix_str = set_postfix_str

    def close(self) -> None:
        """The file is there."""


def _retry(call: Callable[[], T]) -> T:
    """What `call` returns, tried TRIES times where the hub is busy or the connection breaks, as far apart as it asks.

    The client itself does so for most requests, but not for all.
    """
    for attempt in range(1, TRIES):
        try:
            return call()
        except (errors.RevisionResolutionError, httpx2.TransportError, OSError) as error:
            wait_s = _wait_s(error.__cause__ if isinstance(error, errors.RevisionResolutionError) else error, attempt)
            if wait_s is None:
                raise
            time.sleep(wait_s)
    return call()


def _wait_s(error: BaseException | None, attempt: int) -> float | None:
    """Seconds to wait before another try, None where it would not help."""
    if isinstance(error, errors.HfHubHTTPError):
        if error.response.status_code not in BUSY:
            return None
        asked = error.response.headers.get("Retry-After", "")
        return min(float(asked), MAX_WAIT_S) if asked.isdigit() else float(attempt)
    if isinstance(error, httpx2.ConnectError | errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return None
    return float(attempt) if error else None
