"""Where the weights of a model come from: a local folder, made up, or a hub."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from speed_benchmark.cell import Model
from speed_benchmark.errors import UserError
from speed_benchmark.models import catalogue, checkpoint, digest, synthetic, trust, weights
from speed_benchmark.models.hub import download as hubs
from speed_benchmark.models.hub.download import FetchError
from speed_benchmark.record.record import Checkpoint

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Fetched:
    """A checkpoint on disk: its folder, its config.json, and what the record says of it."""

    folder: Path
    config: dict[str, Any]
    checkpoint: Checkpoint


def fetch(model: Model, on_progress: OnProgress) -> Fetched:
    """Have the weights of `model` on disk; `on_progress(what, done_bytes, total_bytes)` is called on the way.

    Raises FetchError where a hub does not give them or they can't be made, UserError where they are not what an
    engine here runs.
    """
    folder = Path(model.model_id_or_path).expanduser()
    commit = None
    if model.weights == "synthetic":
        source = "synthetic"
        making = partial(on_progress, "making weights")
        try:
            folder = synthetic.cached(*shape(model.model_id_or_path), on_progress=making)
        except (synthetic.NotEnoughDiskError, OSError) as error:
            raise FetchError(f"can't make the weights: {error}") from error
    elif folder.is_dir():
        source = "local"
    else:
        source = "modelscope" if model.use_modelscope else "huggingface"
        folder, commit = hubs.download(model, on_progress)
    config, files = inspect(folder, model)
    try:
        weights_digest = digest.weights_digest(files, partial(on_progress, "checking weights"))
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
            weights_digest=weights_digest,
        ),
    )


def inspect(folder: Path, model: Model) -> tuple[dict[str, Any], tuple[Path, ...]]:
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


def shape(model_id_or_path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config.json and generation_config.json that made-up weights of a model are made from.

    Raises UserError where neither a local folder nor the catalogue knows its shape.
    """
    folder = Path(model_id_or_path).expanduser()
    if folder.is_dir():
        return checkpoint.read_config(folder, synthetic=True), checkpoint.read_generation_config(folder)
    entry = catalogue.lookup(model_id_or_path)
    if entry is None:
        near = catalogue.near(model_id_or_path)
        known = f"near names: {', '.join(near)}" if near else "name a Qwen2.5 Instruct model"
        raise UserError("--model_id_or_path", model_id_or_path, f"its shape is not known; {known}, or a local folder")
    return entry.config, entry.generation_config
