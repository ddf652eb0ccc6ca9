"""Where the weights of a model come from: a local folder, made up, or a hub."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from speed_benchmark.cell import Model
from speed_benchmark.errors import UserError
from speed_benchmark.files import cache_folder
from speed_benchmark.models import checkpoint, digest, published, rope, synthetic, trust, weights
from speed_benchmark.models.config import Config
from speed_benchmark.models.hub import download as hubs
from speed_benchmark.models.hub.download import FetchError
from speed_benchmark.models.shapes.asked import ShapeError
from speed_benchmark.record.record import Checkpoint

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Fetched:
    """A checkpoint on disk: its folder, its config.json, and what the record says of it."""

    folder: Path
    config: Config
    checkpoint: Checkpoint


def fetch(model: Model, on_progress: OnProgress) -> Fetched:
    """Have the weights of `model` on disk; `on_progress(what, done_bytes, total_bytes)` is called on the way.

    Raises FetchError where a hub does not give them or they can't be made, UserError where they are not what an
    engine here runs.
    """
    source, folder, commit = _locate(model, on_progress)
    config, files = inspect(folder, model)
    try:
        digest_of_files = digest.weights_digest(files, partial(on_progress, "checking weights"))
        weight_file_bytes = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise FetchError(f"can't read the weights: {error}") from error
    return Fetched(
        folder=folder,
        config=config,
        checkpoint=Checkpoint(
            source=source,
            commit=commit,
            quantization=checkpoint.quantization_of(config),
            weight_file_bytes=weight_file_bytes,
            weights_digest=digest_of_files,
            max_positions=rope.longest(config),
        ),
    )


def weights_digest(model: Model, on_progress: OnProgress) -> str | None:
    """The hash of the weight files that are on disk for `model` now; nothing is downloaded or made for it.

    None for a model on a hub, whose commit is not asked for; for synthetic weights that are not in the cache; and for
    files that can't be read. Raises UserError for synthetic weights of an unknown model.
    """
    if model.weights == "synthetic":
        configs = shape(model.model_id_or_path)
        folder = synthetic.cache_folder(*configs) if _is_made(*configs) else None
    else:
        folder = _local_folder(model.model_id_or_path)
    if folder is None:
        return None
    try:
        files = weights.find(folder, allow_pickle=model.allow_pickle)
        return digest.weights_digest(files, partial(on_progress, "checking weights"))
    except (OSError, ValueError):
        return None


def _is_made(config: Config, generation_config: Config) -> bool:
    try:
        return synthetic.is_cached(config, generation_config)
    except ShapeError:  # what is there was made when its shape was known
        return False


def inspect(folder: Path, model: Model) -> tuple[Config, tuple[Path, ...]]:
    """The checked config.json and weight files of the checkpoint of `model` in `folder`; nothing of it is run.

    Raises UserError where an engine here does not run it, or it asks for more than `model` allows.
    """
    config = checkpoint.read_config(folder, trust_remote_code=model.trust_remote_code)
    try:
        files = weights.find(folder, allow_pickle=model.allow_pickle)
        trust.check_weights(config, sum(file.stat().st_size for file in files))
    except (OSError, ValueError) as error:
        raise UserError("--model_id_or_path", model.model_id_or_path, str(error)) from error
    return config, files


def shape(model_id_or_path: str) -> tuple[Config, Config]:
    """The config.json and generation_config.json that made-up weights of a model are made from.

    Raises UserError where there is neither a local folder nor a published config of that name.
    """
    folder = _local_folder(model_id_or_path)
    if folder is not None:
        return checkpoint.read_config(folder), checkpoint.read_generation_config(folder)
    entry = published.lookup(model_id_or_path)
    if entry is None:
        near = published.near(model_id_or_path)
        known = f"near names: {', '.join(near)}" if near else "name a model like Qwen/Qwen3-8B"
        raise UserError("--model_id_or_path", model_id_or_path, f"its shape is not known; {known}, or a local folder")
    return entry.config, entry.generation_config


def _locate(model: Model, on_progress: OnProgress) -> tuple[str, Path, str | None]:
    """Where the weights are from, the folder that holds them once this returns, and the commit on the hub."""
    if model.weights == "synthetic":
        making = partial(on_progress, "making weights")
        try:
            return "synthetic", synthetic.cached(*shape(model.model_id_or_path), on_progress=making), None
        except (synthetic.NotEnoughDiskError, ShapeError, ValueError) as error:
            raise FetchError(f"can't make the weights: {error}") from error
        except OSError as error:
            why = f"{error.strerror or error} in {cache_folder()}"
            raise FetchError(f"can't make the weights: {why}; name a folder to keep them by XDG_CACHE_HOME") from error
    folder = _local_folder(model.model_id_or_path)
    if folder is not None:
        return "local", folder, None
    return "modelscope" if model.use_modelscope else "huggingface", *hubs.download(model, on_progress)


def _local_folder(model_id_or_path: str) -> Path | None:
    """The absolute path of a local model, so that it is the same from any working directory; None for an id.

    Unlike pathlib's own ways this raises nothing, whatever the name is.
    """
    folder = os.path.expanduser(model_id_or_path)  # noqa: PTH111
    return Path(folder).absolute() if os.path.isdir(folder) else None  # noqa: PTH112
