"""ModelScope, through the client that the package `modelscope` is built on."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("TQDM_DISABLE", "1")  # the client's own bars would write over this program's

import requests
from modelscope_hub import HubApi, ProgressCallback
from modelscope_hub.config import get_default_config
from modelscope_hub.errors import (
    APIError,
    AuthenticationError,
    FileDownloadError,
    FileIntegrityError,
    HubError,
    NetworkError,
    NotExistError,
    PermissionDeniedError,
)
from urllib3.response import HTTPResponse

from speed_benchmark.models.hub import repository
from speed_benchmark.models.hub.bounds import Answer, counted
from speed_benchmark.models.hub.repository import COMMIT, FetchError, OnBytes, RemoteFile

HOSTS = ("modelscope.cn", "www.modelscope.cn", "modelscope.ai", "www.modelscope.ai")
TOKEN = "MODELSCOPE_API_TOKEN"  # noqa: S105 - the variable's name
CURES = "set MODELSCOPE_ENDPOINT, leave --use_modelscope out"
MAIN_BRANCH = "master"
ENTRY = ("Path", "Type", "Size", "Sha256", "Revision", "CommittedDate")


class ModelScope:
    """One model on ModelScope."""

    source: ClassVar[str] = "modelscope"

    def __init__(self, name: str) -> None:
        logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL + 1)  # it logs whole addresses
        self.name = name
        self._config = get_default_config()
        takes_token = repository.takes_token(str(self._config.endpoint), HOSTS, [TOKEN])
        self._login = "`modelscope login`" if takes_token else repository.own_token(TOKEN)
        self._api = HubApi(token=None if takes_token else "")  # the client's own, or none
        for session in vars(self._api.legacy).values():
            if isinstance(session, requests.Session):
                session.hooks["response"].append(self._on_response)
        self._answer: Answer | None = None
        self._listed: dict[str, list[dict[str, Any]]] = {}

    def commit(self, revision: str | None) -> str:
        """The commit of `revision`: the last one that changed a file of it, since the hub names no other."""
        if revision is not None and COMMIT.fullmatch(revision):
            return revision
        entries = self._list(revision or MAIN_BRANCH)
        newest = max(entries, key=lambda entry: int(entry.get("CommittedDate") or 0), default={})
        commit = str(newest.get("Revision") or "")
        self._listed[commit] = entries
        return commit

    def folder(self, commit: str) -> Path:
        """The snapshot in the client's cache."""
        return Path(self._config.cache_dir) / "models" / self.name.replace("/", "--") / "snapshots" / commit

    def listing(self, commit: str) -> list[RemoteFile]:
        """The files at the top of `commit`."""
        entries = self._listed.get(commit) or self._list(commit)
        return [
            RemoteFile(str(entry["Path"]), int(entry["Size"]), sha256=str(entry.get("Sha256") or "") or None)
            for entry in entries
            if entry["Type"] == "blob"
        ]

    def fetch(self, commit: str, files: Sequence[RemoteFile], on_bytes: OnBytes) -> None:
        """Download `files`, several at a time; one that breaks off goes on where it was."""

        class Callback(ProgressCallback):
            """Told of the bytes of one file as they come."""

            def update(self, size: int) -> None:
                on_bytes(size)

        self._answer = None
        with self._translate_errors(commit):
            self._api.download_repo(
                self.name,
                "model",
                revision=commit,
                local_dir=self.folder(commit),
                file_list=[{"Path": file.name, "Size": file.size_bytes, "Sha256": file.sha256} for file in files],
                progress_callbacks=[Callback],
            )

    def _list(self, revision: str) -> list[dict[str, Any]]:
        self._answer = Answer(str(self._config.endpoint))
        with self._translate_errors(revision):
            entries = self._api.legacy.list_repo_files(self.name, "model", revision=revision, recursive=False)
            return [{key: entry.get(key) for key in ENTRY} for entry in entries]

    def _on_response(self, response: requests.Response, **_: object) -> None:
        """Count what comes of an answer; the client itself bounds the contents of files, and the time of everything."""
        if self._answer is not None:
            response.raw = _Counted(response.raw, self._answer)

    @contextmanager
    def _translate_errors(self, revision: str) -> Iterator[None]:
        """Raise the client's errors as FetchError. Its own messages hold addresses, so none of them is passed on."""
        endpoint = str(self._config.endpoint)
        try:
            yield
        except FileDownloadError as error:
            raise self._fetch_error(next(iter(error.failed_files.values()), error)) from None
        except NotExistError:
            raise self._missing_error(revision) from None
        except (HubError, OSError) as error:
            raise self._fetch_error(error) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise repository.no_hub(endpoint, "MODELSCOPE_ENDPOINT") from None

    def _missing_error(self, revision: str) -> FetchError:
        """The error of a model that is missing, or of a revision that it has not."""
        endpoint = str(self._config.endpoint)
        try:
            self._api.legacy.list_repo_files(self.name, "model", revision=MAIN_BRANCH, recursive=False)
        except NotExistError:
            return repository.no_model(self.name, endpoint, self._login)
        except (HubError, requests.RequestException, ValueError) as error:
            return self._fetch_error(error)
        return repository.no_revision(self.name, revision, endpoint)

    def _fetch_error(self, error: BaseException) -> FetchError:
        """The FetchError for an error of the client's."""
        endpoint = str(self._config.endpoint)
        if isinstance(error, AuthenticationError):
            return repository.bad_token(endpoint, TOKEN, self._login)
        if isinstance(error, PermissionDeniedError):
            return repository.not_allowed(self.name, endpoint, self._login)
        if isinstance(error, NotExistError):
            return FetchError(f"a file of {self.name} is gone from {repository.host(endpoint)}; run it again")
        if isinstance(error, APIError):
            return repository.busy(endpoint, error.status_code or 0)
        if isinstance(error, FileIntegrityError):
            return FetchError(f"{self.name} comes damaged from {repository.host(endpoint)}; run it again later")
        if isinstance(error, ValueError | requests.TooManyRedirects):
            return repository.no_hub(endpoint, "MODELSCOPE_ENDPOINT")
        if isinstance(error, NetworkError | requests.ConnectionError):
            return repository.no_network(endpoint, type(error).__name__, CURES)
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return repository.broken_off(self.name, endpoint, why)


class _Counted:
    """The body of an answer, as far as `answer` lets it come; in all else it is `raw`."""

    def __init__(self, raw: HTTPResponse, answer: Answer) -> None:
        self._raw = raw
        self._answer = answer

    def __getattr__(self, name: str) -> object:
        return getattr(self._raw, name)

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """What has come by now."""
        chunk = self._raw.read1(amt, decode_content)
        self._answer.came(len(chunk))
        return chunk

    def stream(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        """All of it, chunk by chunk."""
        return counted(self._raw.stream(amt, decode_content), self._answer)
