"""A hub on the loopback interface: the HTTP interfaces of Hugging Face and of ModelScope over files in memory."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE_BYTES = 10_000  # from here on a file is kept as the hubs keep large files


@dataclass
class Fault:
    """What goes wrong with the first `times` requests whose method and path hold `match`.

    `kind`: `status` (with Retry-After where that is set), `drop` (the connection ends after `at` bytes of the body),
    `short` (a body of `at` bytes, said to be whole), `wrong` (the right size, another content), `html`,
    `stall` (nothing more after `at` bytes until the hub is told to go on), `send` (`body` with `headers` and `status`),
    `endless` (zeros, as fast as they go), `drip` (a space ten times a second, and no end).
    """

    match: str
    kind: str
    times: int = 1
    status: int = 503
    retry_after_s: int | None = None
    at: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repo:
    """A model: the files of each commit, and the branches and tags that point to them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def add(self, files: Mapping[str, bytes], *refs: str) -> str:
        """A new commit of `files`; `refs` point to it from now on."""
        commit = hashlib.sha1(repr((len(self.commits), sorted(files))).encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = dict(files)
        self.refs |= dict.fromkeys(refs, commit)
        return commit

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass
class Hub:
    """What the server serves, what is to go wrong, and what it was asked.

    `shown` are the tokens that came with requests, each with the host that was asked for.
    `listed_bytes` are sizes that it lists in place of the true ones, `commit` what it says that every branch is at.
    `token` is the only one that it takes; without one it takes them all.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    token: str | None = None
    listed_bytes: dict[str, int] = field(default_factory=dict)
    commit: str | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    endpoint: str = ""

    @property
    def elsewhere(self) -> str:
        """Another host, to the client: large files are kept there."""
        return self.endpoint.replace("127.0.0.1", "localhost")

    def fault(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.match in request:
                fault.times -= 1
                return fault
        return None

    def asked(self, text: str) -> list[str]:
        """The requests that hold `text`."""
        return [request for request in self.requests if text in request]


class Handler(BaseHTTPRequestHandler):
    """Answers as the hubs do."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """The hub keeps its own list."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        request = f"{self.command} {unquote(self.path)}"
        self.hub.requests.append(request)
        for header in ("Authorization", "Cookie"):
            if header in self.headers:
                self.hub.shown.append(f"{self.headers['Host']} {self.headers[header]}")
        fault = self.hub.fault(request)
        if fault and fault.kind == "status":
            wait = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_s is not None else {}
            return self._send(b"busy", fault.status, wait)
        if fault and fault.kind == "send":
            return self._send(fault.body, fault.status, fault.headers, "application/json")
        if fault and fault.kind in ("endless", "drip"):
            return self._go_on(fault.kind)
        if fault and fault.kind == "html":
            return self._send(b"<html><body>Please log in to this network</body></html>", 200, {}, "text/html")
        if self.hub.token and self._token() not in (None, self.hub.token):
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return self._send(b'{"Message": "bad token"}', 401, message)
        url = urlsplit(self.path)
        parts = unquote(url.path).strip("/").split("/")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        match parts:
            case ["api", "v1", "models", owner, name, *rest]:
                return self._modelscope(f"{owner}/{name}", rest, query, fault)
            case ["api", "models", owner, name, *rest]:
                return self._huggingface(f"{owner}/{name}", rest)
            case [owner, name, "resolve", revision, *path]:
                return self._resolve(f"{owner}/{name}", revision, "/".join(path), fault)
            case ["cdn", owner, name, commit, *path]:
                return self._body(self.hub.repos[f"{owner}/{name}"].commits[commit]["/".join(path)], {}, fault)
            case _:
                return self._send(b"{}", 404)

    def _token(self) -> str | None:
        """What the client shows to be let in; a name and a password in an endpoint go before a token."""
        return self.headers.get("Authorization", "").partition(" ")[2] or None

    def _huggingface(self, name: str, rest: list[str]) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            return self._send(b'{"error": "Repository not found"}', 401, {"X-Error-Code": "RepoNotFound"})
        commit = repo.resolve(rest[1] if len(rest) > 1 else "main")
        if commit is None:
            return self._send(b'{"error": "Invalid rev"}', 404, {"X-Error-Code": "RevisionNotFound"})
        files = repo.commits[commit]
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": path} for path in files]
            return self._json({"id": name, "sha": self.hub.commit or commit, "private": False, "siblings": siblings})
        top = {path: content for path, content in files.items() if "/" not in path}
        folders = sorted({path.split("/")[0] for path in files if "/" in path})
        return self._json(
            [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
            + [_entry(path, content, self.hub.listed_bytes.get(path)) for path, content in top.items()]
        )

    def _resolve(self, name: str, revision: str, path: str, fault: Fault | None) -> None:
        repo = self.hub.repos.get(name)
        commit = repo.resolve(revision) if repo else None
        if repo is None or commit is None or path not in repo.commits[commit]:
            return self._send(b"", 404, {"X-Error-Code": "EntryNotFound"})
        if repo.gated and self._token() is None:
            return self._send(b"", 403, {"X-Error-Code": "GatedRepo"})
        content = repo.commits[commit][path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag(content)}"'}
        if len(content) < LARGE_BYTES:
            return self._body(content, headers, fault)
        headers |= {"X-Linked-Etag": f'"{etag(content)}"', "X-Linked-Size": str(len(content))}
        return self._send(b"", 302, headers | {"Location": f"{self.hub.elsewhere}/cdn/{name}/{commit}/{path}"})

    def _modelscope(self, name: str, rest: list[str], query: dict[str, str], fault: Fault | None) -> None:
        repo = self.hub.repos.get(name)
        commit = repo.resolve(query.get("Revision", "master")) if repo else None
        if repo is None or (rest and commit is None):
            return self._send(b'{"Code": 10010205001, "Message": "not found", "Success": false}', 404)
        if rest and repo.gated and self._token() is None:
            return self._send(b'{"Code": 10010205002, "Message": "no permission", "Success": false}', 403)
        if not rest:
            return self._json({"Code": 200, "Success": True, "Data": {"Path": name.partition("/")[0]}})
        assert commit is not None
        files = repo.commits[commit]
        if rest == ["repo"]:
            if query["FilePath"] not in files:
                return self._send(b'{"Code": 404, "Message": "no file", "Success": false}', 404)
            return self._body(files[query["FilePath"]], {}, fault)
        entries = [
            {
                "Name": path,
                "Path": path,
                "Type": "blob",
                "Size": self.hub.listed_bytes.get(path, len(content)),
                "Sha256": hashlib.sha256(content).hexdigest(),
                **_last_change(repo, commit, path),
                **({"Revision": self.hub.commit} if self.hub.commit else {}),
            }
            for path, content in files.items()
            if "/" not in path or query.get("Recursive") == "True"
        ]
        return self._json({"Code": 200, "Success": True, "Data": {"Files": entries}})

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), 200, {}, "application/json")

    def _body(self, content: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        """The content of a file, or the range that was asked for, or what is left of it after a fault."""
        first, last = 0, len(content) - 1
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            start, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or last), last)
            headers = headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        body = content[first : last + 1]
        status = 206 if asked else 200
        if fault and fault.kind == "wrong":
            body = bytes(byte ^ 1 for byte in body[:64]) + body[64:]
        if fault and fault.kind == "short":
            body = body[: fault.at]
        if fault and fault.kind == "drop" and self.command == "GET":
            self.close_connection = True
            return self._send(body, status, headers, cut=fault.at)
        if fault and fault.kind == "stall" and self.command == "GET":
            self.close_connection = True
            self._send(body, status, headers, cut=fault.at)
            self.hub.go_on.wait(60)
            return None
        return self._send(body, status, headers)

    def _go_on(self, kind: str) -> None:
        """An answer without a length or an end; the client is to leave."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        piece, every_s = (b" ", 0.1) if kind == "drip" else (b"0" * 65536, 0)
        with suppress(OSError):
            while self.command == "GET" and not self.hub.go_on.wait(every_s):
                self.wfile.write(piece)
                self.hub.sent_bytes += len(piece)

    def _send(
        self,
        body: bytes,
        status: int,
        headers: Mapping[str, str] | None = None,
        kind: str = "application/octet-stream",
        *,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | dict(headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):  # a client that has had enough
                self.wfile.write(body[:cut])
                self.hub.sent_bytes += len(body[:cut])


def etag(content: bytes) -> str:
    """What Hugging Face names a file by: SHA-256 if it is large, git's name if not."""
    if len(content) < LARGE_BYTES:
        return git_blob(content)
    return hashlib.sha256(content).hexdigest()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(path: str, content: bytes, listed_bytes: int | None) -> dict[str, Any]:
    size = len(content) if listed_bytes is None else listed_bytes
    entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": git_blob(content)}
    if len(content) >= LARGE_BYTES:
        sha256 = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
        lfs = {"oid": sha256, "size": len(content), "pointerSize": len(pointer)}
        entry |= {"oid": git_blob(pointer), "lfs": lfs}
    return entry


def _last_change(repo: Repo, commit: str, path: str) -> dict[str, Any]:
    """The commit that gave a file its content, of those up to `commit`; they are in order of time."""
    commits = list(repo.commits)
    last = commits.index(commit)
    while last and repo.commits[commits[last - 1]].get(path) == repo.commits[commit][path]:
        last -= 1
    return {"Revision": commits[last], "CommittedDate": 1_700_000_000 + last}


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` while the block runs; its `endpoint` says where."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
