"""A model's files on a hub, whichever hub it is: what both clients offer, and the ways in which it can fail."""

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

from speed_benchmark.models import published

COMMIT = re.compile(r"[0-9a-f]{40}")

OnBytes = Callable[[int], None]


class FetchError(Exception):
    """The weights could not be had; the text says why and what to do, in one line."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit, with what the hub says of its contents: SHA-256, the name git gives to it, or neither."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_blob: str | None = None


class Repository(Protocol):
    """One model on a hub. Every method raises FetchError where the hub fails it."""

    source: ClassVar[str]
    name: str

    def commit(self, revision: str | None) -> str:
        """The commit that `revision` (None: the main branch) is now; of a commit itself, without a request."""
        ...

    def folder(self, commit: str) -> Path:
        """The folder in the hub's own cache where the files of `commit` are, or will be."""
        ...

    def listing(self, commit: str) -> list[RemoteFile]:
        """The files at the top of `commit`."""
        ...

    def fetch(self, commit: str, files: Sequence[RemoteFile], on_bytes: OnBytes) -> None:
        """Have `files` in `folder(commit)`; `on_bytes` is told of bytes as they come, from any thread."""
        ...


def host(endpoint: str) -> str:
    """An endpoint without what may be secret in it: credentials, path and query."""
    parts = urlsplit(endpoint)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def takes_token(endpoint: str, home: Collection[str], variables: Collection[str]) -> bool:
    """Whether a token for a login may be sent to `endpoint`: over TLS, or on this machine, and meant for it.

    That of a login is for the hosts of the hub itself, which are `home`; one in any of `variables`, which the user set
    beside the endpoint, for a mirror too.
    """
    parts = urlsplit(endpoint)
    unseen = parts.scheme == "https" or _is_local(parts.hostname or "")
    return unseen and (parts.hostname in home or any(os.environ.get(name) for name in variables))


def _is_local(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def own_token(variable: str) -> str:
    """What to do to be let in where no login is sent."""
    return f"set {variable} (no login goes to a mirror, and no token anywhere without TLS)"


def no_model(name: str, endpoint: str, login: str) -> FetchError:
    """There is no such model, or it is private."""
    near = [known for known in published.near(name) if known != name]
    hint = f"near names: {', '.join(near)}" if near else "check the id"
    return FetchError(f"no model {name} on {host(endpoint)}; {hint}, or {login} if it is private")


def no_revision(name: str, revision: str | None, endpoint: str) -> FetchError:
    """The model has no such branch, tag or commit."""
    return FetchError(f"{name} on {host(endpoint)} has no revision {revision}; name a branch, a tag or a commit of it")


def not_allowed(name: str, endpoint: str, login: str) -> FetchError:
    """The model is there, and this user may not have it."""
    return FetchError(f"{name} is gated: accept its terms on {host(endpoint)}, then {login}")


def bad_token(endpoint: str, variable: str, login: str) -> FetchError:
    """The hub does not know the token that was sent."""
    return FetchError(f"{host(endpoint)} refuses the token; unset {variable} or {login} with a valid one")


def no_network(endpoint: str, why: str, cures: str) -> FetchError:
    """The hub can't be reached."""
    return FetchError(f"can't reach {host(endpoint)} ({why}); {cures}, or use a local folder or --weights synthetic")


def no_hub(endpoint: str, variable: str) -> FetchError:
    """Something answers, and it is no hub: a login page of a network, a proxy, a wrong address."""
    return FetchError(f"{host(endpoint)} answers, but not as a hub does (a web page?); check {variable} and the proxy")


def busy(endpoint: str, status: int) -> FetchError:
    """The hub goes on answering that it can't answer."""
    return FetchError(f"{host(endpoint)} goes on answering {status}; run it again later, what has come is kept")


def too_much(endpoint: str) -> FetchError:
    """An answer is larger than any that is needed."""
    return FetchError(f"{host(endpoint)} sends more than it should; try another hub, or run it again later")


def too_slow(endpoint: str) -> FetchError:
    """An answer goes on and on."""
    return FetchError(f"{host(endpoint)} is too slow to go on; run it again later, what has come is kept")


def broken_off(name: str, endpoint: str, why: str) -> FetchError:
    """A download ended too soon, again and again."""
    return FetchError(f"the download of {name} from {host(endpoint)} broke off ({why}); run it again, it goes on")
