"""The hubs: Hugging Face (or a mirror of it, by HF_ENDPOINT) and ModelScope; a client is imported only when asked."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Lock

from speed_benchmark import files
from speed_benchmark.cell import Model
from speed_benchmark.errors import UserError
from speed_benchmark.models import checkpoint, digest, published, trust, weights
from speed_benchmark.models.hub.repository import COMMIT, FetchError, RemoteFile, Repository

__all__ = ["FetchError", "download"]

OnProgress = Callable[[str, int, int], None]

_ID = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"(?!.*(\.\.|//))[\w][\w./+-]{0,254}", re.ASCII)


def download(model: Model, on_progress: OnProgress) -> tuple[Path, str]:
    """The folder of `model` in the hub's cache, filled where needed, and the commit it is at.

    What an engine does not read is not fetched. Every file is checked against what the hub says of it, once for as
    long as it does not change. Raises FetchError, and UserError for a model that is not run here.
    """
    try:
        return _download(model, on_progress)
    except (FetchError, UserError):
        raise
    except Exception as error:  # a server may answer anything, and break its client in any way
        variable = "MODELSCOPE_ENDPOINT" if model.use_modelscope else "HF_ENDPOINT"
        why = f"the answer of its hub can't be read ({type(error).__name__})"
        raise FetchError(f"{model.model_id_or_path[:120]}: {why}; check {variable} and the proxy") from error


def _download(model: Model, on_progress: OnProgress) -> tuple[Path, str]:
    repository = _repository(model)
    on_progress("asking the hub", 0, 0)
    commit = repository.commit(model.revision)
    if not COMMIT.fullmatch(commit):
        raise FetchError(f"{repository.name} is at {commit[:60]!a}, which is no commit; name one by --revision")
    folder = repository.folder(commit)
    listing_file = _listing_file(repository, commit)
    listing = _read_listing(listing_file) or repository.listing(commit)
    remote = {file.name: file for file in listing if weights.NAME.fullmatch(file.name)}
    if "config.json" not in remote:
        raise FetchError(f"{repository.name} has no config.json; name a repository that has the model in safetensors")
    try:
        trust.check_sizes({name: file.size_bytes for name, file in remote.items()})
        small = [name for name in remote if name in trust.MAX_BYTES or (model.trust_remote_code and name[-3:] == ".py")]
        _ensure_files(repository, commit, [remote[name] for name in small], on_progress)
        checkpoint.read_config(folder, trust_remote_code=model.trust_remote_code)
        names = weights.names(folder, remote, allow_pickle=model.allow_pickle)
        _ensure_files(repository, commit, [remote[name] for name in names], on_progress)
    except ValueError as error:
        raise FetchError(f"{repository.name} {error}") from None
    except OSError as error:
        raise FetchError(f"can't keep {repository.name} in {folder}: {error.strerror or error}") from None
    files.write_cache(listing_file, json.dumps([asdict(file) for file in listing]).encode())
    return folder, commit


def _repository(model: Model) -> Repository:
    name, revision = model.model_id_or_path, model.revision
    if not _ID.fullmatch(name) or ".." in name:
        near = ", ".join(published.near(name)) or "Qwen/Qwen2.5-7B-Instruct"
        raise FetchError(f"{name[:120]!a} is no folder here and no id of a model; ids look like {near}")
    if revision is not None and not _REVISION.fullmatch(revision):
        raise FetchError(f"{revision[:120]!a} is no revision; name a branch, a tag or a commit")
    try:
        if model.use_modelscope:
            from speed_benchmark.models.hub.modelscope import ModelScope

            return ModelScope(name)
        from speed_benchmark.models.hub.huggingface import HuggingFace

        return HuggingFace(name)
    except ModuleNotFoundError as error:
        package = "modelscope" if model.use_modelscope else "huggingface_hub"
        raise FetchError(f"{error.name} is not installed; `pip install {package}`") from None


def _ensure_files(repository: Repository, commit: str, wanted: Sequence[RemoteFile], on_progress: OnProgress) -> None:
    """Fetch the `wanted` files that are not there, and verify all of them against what the hub says."""
    folder = repository.folder(commit)
    missing = [file for file in wanted if not _is_there(folder, file)]
    total_bytes = sum(file.size_bytes for file in missing)
    if missing:
        _require_disk(folder, total_bytes)
        on_progress("downloading", 0, total_bytes)
        repository.fetch(commit, missing, _byte_counter(on_progress, total_bytes))
    checked_bytes, total_bytes = 0, sum(file.size_bytes for file in wanted)
    for file in wanted:
        on_progress("checking", checked_bytes, total_bytes)
        _verify(folder / file.name, file)
        checked_bytes += file.size_bytes


def _is_there(folder: Path, file: RemoteFile) -> bool:
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size_bytes


def _byte_counter(on_progress: OnProgress, total_bytes: int) -> Callable[[int], None]:
    """Adds up the bytes that several threads download; a file that is begun again takes its bytes back."""
    lock = Lock()
    done_bytes = 0

    def add(count_bytes: int) -> None:
        nonlocal done_bytes
        with lock:
            done_bytes += count_bytes
            on_progress("downloading", min(max(done_bytes, 0), total_bytes), total_bytes)

    return add


def _require_disk(folder: Path, needed_bytes: int) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise FetchError(
            f"the download needs {needed_bytes / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free: make room, "
            "or name a larger disk by HF_HOME (MODELSCOPE_CACHE with --use_modelscope)"
        )


def _verify(path: Path, file: RemoteFile) -> None:
    """Raise FetchError for a file that is not what the hub says, and remove it, so that it is fetched again."""
    right = path.is_file() and path.stat().st_size == file.size_bytes
    if right and file.sha256 is not None:
        right = digest.file_sha256(path) == file.sha256
    elif right and file.git_blob is not None:
        right = digest.git_blob(path) == file.git_blob
    if not right:
        for damaged in (path.resolve(), path):
            damaged.unlink(missing_ok=True)
        raise FetchError(f"{file.name} came damaged: its contents are not those that the hub lists; run it again")


def _listing_file(repository: Repository, commit: str) -> Path:
    """Where the listing of a commit is cached once its files have come: a commit never changes."""
    return files.cache_folder("hubs", repository.source, repository.name.replace("/", "--")) / f"{commit}.json"


def _read_listing(listing_file: Path) -> list[RemoteFile]:
    """The cached listing, [] where there is none."""
    try:
        return [RemoteFile(**entry) for entry in json.loads(listing_file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):  # none, or not whole: the hub is asked
        return []
