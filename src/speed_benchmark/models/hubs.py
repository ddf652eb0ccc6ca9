"""The hubs: Hugging Face (or a mirror of it, by HF_ENDPOINT) and ModelScope; a client is imported only when asked."""

import os
from pathlib import Path

from speed_benchmark.cell import Model

# What an engine needs of a repository; safetensors only, so that no pickle is ever fetched.
FILES = ("*.json", "*.safetensors", "merges.txt", "vocab.txt", "*.model", "tokenizer*")


class FetchError(Exception):
    """The weights could not be had; the text says why and what to do, in one line."""


def download(model: Model) -> tuple[Path, str | None]:
    """The folder of `model` in the hub's cache, filled where needed, and the commit it is at.

    Raises FetchError where the hub has no such model or revision, asks for a login, or can't be reached.
    """
    return _modelscope(model) if model.use_modelscope else _huggingface(model)


def _huggingface(model: Model) -> tuple[Path, str | None]:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    name = model.model_id_or_path
    try:
        folder = Path(snapshot_download(name, revision=model.revision, allow_patterns=list(FILES)))
    except GatedRepoError:
        raise FetchError(f"{name} needs a login: accept its terms on the hub, then `hf auth login`") from None
    except RevisionNotFoundError:
        raise FetchError(f"{name} has no revision {model.revision}") from None
    except RepositoryNotFoundError:
        raise FetchError(f"no model {name} on {constants.ENDPOINT}, or it is private: `hf auth login`") from None
    except (OSError, ValueError) as error:
        reach = "set HF_ENDPOINT to a mirror, use --use_modelscope, a local folder, or --weights synthetic"
        raise FetchError(f"can't fetch {name} ({type(error).__name__}): {reach}") from error
    return folder, folder.name


def _modelscope(model: Model) -> tuple[Path, str | None]:
    os.environ.setdefault("MODELSCOPE_LOG_LEVEL", "40")
    from modelscope.hub.snapshot_download import snapshot_download

    name = model.model_id_or_path
    try:
        folder = snapshot_download(name, revision=model.revision, allow_file_pattern=list(FILES))
    except Exception as error:
        reach = "check the id and the network, or use a local folder or --weights synthetic"
        raise FetchError(f"can't fetch {name} from ModelScope ({type(error).__name__}): {reach}") from error
    return Path(folder), model.revision
