"""Hugging Face, or a mirror of it, through its own client."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import ClassVar, Self, TypeVar, cast

# The client reads them once.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # a request less
if os.environ.get("HF_ENDPOINT"):  # Xet's client has no bounds for what a mirror sends, and asks wherever it says
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

import httpx2
from huggingface_hub import HfApi, constants, errors, get_session, hf_hub_download, set_client_factory
from huggingface_hub.hf_api import RepoFile

from speed_benchmark.models.hub import repository
from speed_benchmark.models.hub.bounds import Answer, Bound, StoppedError, Transfer, counted
from speed_benchmark.models.hub.repository import FetchError, OnBytes, RemoteFile

T = TypeVar("T")

HOSTS = ("huggingface.co",)
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
CURES = "set HF_ENDPOINT to a mirror, use --use_modelscope"
PARALLEL_FILES = 4
TRIES = 3
MAX_WAIT_S = 60.0
BUSY = (429, 500, 502, 503, 504)

_OWN_HOOKS = get_session().event_hooks["request"]
_bound: ContextVar[Callable[[], Bound]] = ContextVar("_bound", default=lambda: Answer(constants.ENDPOINT))
"""What bounds the next answer to this thread."""


class HuggingFace:
    """One model on Hugging Face."""

    source: ClassVar[str] = "huggingface"

    def __init__(self, name: str) -> None:
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # it logs whole addresses
        self.name = name
        takes_token = repository.takes_token(constants.ENDPOINT, HOSTS, TOKENS)
        self._token = None if takes_token else False  # the client's own, or none
        self._login = "`hf auth login`" if takes_token else repository.own_token("HF_TOKEN")
        self._api = HfApi(token=self._token)

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
        with self._translate_errors(commit), _one_answer():
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
                raise StoppedError
            on_bytes(count_bytes)

        def get(file: RemoteFile) -> None:
            _bound.set(lambda: Transfer(constants.ENDPOINT, stop))
            members = {"on_bytes": staticmethod(count), "size_bytes": file.size_bytes}
            bar = type("ProgressBar", (_ProgressBar,), members)
            _retry(partial(hf_hub_download, self.name, file.name, revision=commit, tqdm_class=bar, token=self._token))

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
            raise repository.not_allowed(self.name, endpoint, self._login) from None
        except errors.RevisionNotFoundError:
            raise repository.no_revision(self.name, revision, endpoint) from None
        except errors.RepositoryNotFoundError:
            raise repository.no_model(self.name, endpoint, self._login) from None
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
        except (httpx2.RequestError, ValueError, KeyError, TypeError, AssertionError, RecursionError):
            raise repository.no_hub(endpoint, "HF_ENDPOINT") from None
        except OSError as error:
            why = error.strerror or "a file is not of the size that was announced"
            raise repository.broken_off(self.name, endpoint, why) from None

    def _http_error(self, error: errors.HfHubHTTPError) -> FetchError:
        status = error.response.status_code
        if status == 401:
            return repository.bad_token(constants.ENDPOINT, "HF_TOKEN", self._login)
        if status == 403:
            return repository.not_allowed(self.name, constants.ENDPOINT, self._login)
        if status in BUSY:
            return repository.busy(constants.ENDPOINT, status)
        return FetchError(f"{repository.host(constants.ENDPOINT)} answers {status} for {self.name}; check HF_ENDPOINT")


def _session() -> httpx2.Client:
    """The client's session, with its own hooks; through it go all requests, and what is said of them here."""
    before: list[Callable[..., object]] = [*_OWN_HOOKS, _before_request]
    return httpx2.Client(event_hooks={"request": before, "response": [_on_response]}, follow_redirects=True)


set_client_factory(_session)


def _before_request(request: httpx2.Request) -> None:
    """No token goes to another host, wherever the hub points; no answer is compressed, or waited for without end."""
    if request.url.origin != httpx2.URL(constants.ENDPOINT).origin:
        request.headers.pop("Authorization", None)
    request.headers["Accept-Encoding"] = "identity"
    limits_s = request.extensions.setdefault("timeout", {})
    for stage in ("connect", "read", "write", "pool"):
        limits_s[stage] = limits_s.get(stage) or constants.HF_HUB_DOWNLOAD_TIMEOUT


def _on_response(response: httpx2.Response) -> None:
    """Count what comes; what is compressed all the same could be of any size."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise repository.no_hub(constants.ENDPOINT, "HF_ENDPOINT")
    bound = _bound.get()() if response.is_success else Answer(constants.ENDPOINT)
    response.stream = _Counted(cast("httpx2.SyncByteStream", response.stream), bound)


class _Counted(httpx2.SyncByteStream):
    """The body of an answer, as far as `bound` lets it come."""

    def __init__(self, stream: httpx2.SyncByteStream, bound: Bound) -> None:
        self._stream = stream
        self._bound = bound

    def __iter__(self) -> Iterator[bytes]:
        return counted(iter(self._stream), self._bound)

    def close(self) -> None:
        """The connection may be used again."""
        self._stream.close()


@contextmanager
def _one_answer() -> Iterator[None]:
    """Inside, all pages that the hub sends are one answer, and bounded as one."""
    answer = Answer(constants.ENDPOINT)
    token = _bound.set(lambda: answer)
    try:
        yield
    finally:
        _bound.reset(token)


class _ProgressBar:
    """What the client takes for a progress bar."""

    on_bytes: ClassVar[OnBytes]
    size_bytes: ClassVar[int]

    def __init__(self, *_: object, initial: int = 0, **__: object) -> None:
        self._done_bytes = 0
        if initial:
            self.update(initial)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, count_bytes: float | None = 1) -> None:
        """Bytes are written."""
        self._done_bytes += int(count_bytes or 0)
        if self._done_bytes > self.size_bytes:
            raise repository.too_much(constants.ENDPOINT)
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
