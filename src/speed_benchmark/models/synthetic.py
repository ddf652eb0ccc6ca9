"""Checkpoints of the true shape with made-up weights: speed and memory depend on shapes and types, not on values.

The file format is that of safetensors: 8 bytes with the length of the header, a JSON header with the type, shape and
place of each tensor, and the data, which is streamed so that memory stays small whatever the model.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from speed_benchmark import files
from speed_benchmark.errors import UserError
from speed_benchmark.models.checkpoint import quantization_of
from speed_benchmark.models.config import Config
from speed_benchmark.models.shape import BITS, Tensor
from speed_benchmark.models.shapes import asked

VERSION = 2
"""Part of a cached checkpoint's name: raise it when the same config comes to mean other files."""

SHARD_BYTES = 4_000_000_000
INDEX_NAME = "model.safetensors.index.json"

OnProgress = Callable[[int, int], None]


class NotEnoughDiskError(Exception):
    """The disk has too little room for a checkpoint; the text says how much is missing, and what to do."""


def _no_progress(_done_bytes: int, _total_bytes: int) -> None:
    pass


def synthesize(
    config: Config,
    generation_config: Config,
    out_dir: Path,
    *,
    seed: int = 0,
    on_progress: OnProgress = _no_progress,
) -> Path:
    """Make a checkpoint of `config` in `out_dir` and return that folder; it appears whole or not at all.

    `on_progress` is told the bytes done and in all. Raises UserError where `out_dir` is taken, NotEnoughDiskError,
    OSError where it can't be written, ShapeError and ValueError where its tensors or values for them are not known.
    """
    out_dir = out_dir.absolute()
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UserError("--out", out_dir, "is there already; name a new folder")
    _make(_Checkpoint.of(config, generation_config), out_dir, seed, on_progress)
    return out_dir


def cached(config: Config, generation_config: Config, *, on_progress: OnProgress = _no_progress) -> Path:
    """The folder of the checkpoint of `config` in the user's cache, made if it is not there.

    Raises NotEnoughDiskError, OSError where the cache can't be written, ShapeError and ValueError as `synthesize` does.
    """
    folder = cache_folder(config, generation_config)
    if not is_cached(config, generation_config):
        _remove_leftovers(folder.parent)
        _make(_Checkpoint.of(config, generation_config), folder, 0, on_progress, replace=True)
    return folder


def is_cached(config: Config, generation_config: Config) -> bool:
    """Whether the checkpoint of `config` is in the user's cache, whole. Raises ShapeError."""
    folder = cache_folder(config, generation_config)
    return folder.is_dir() and _Checkpoint.of(config, generation_config).is_whole(folder)


def cache_folder(config: Config, generation_config: Config) -> Path:
    """Where `cached` keeps the checkpoint: `synthetic/` in the user's cache, a readable name and a hash."""
    content = json.dumps([VERSION, config, generation_config], sort_keys=True)
    identity = hashlib.sha256(content.encode()).hexdigest()[:16]
    return files.cache_folder("synthetic") / f"{config['model_type']}-{quantization_of(config)}-{identity}"


@dataclass(frozen=True)
class Shard:
    """One safetensors file."""

    name: str
    header: bytes
    tensors: tuple[Tensor, ...]

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return len(self.header) + sum(tensor.size_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class _Checkpoint:
    """The files of a checkpoint, before they are made."""

    config: Config
    documents: dict[str, bytes]
    shards: tuple[Shard, ...]

    @classmethod
    def of(cls, config: Config, generation_config: Config) -> "_Checkpoint":
        shards = split(asked.shape(config).each_tensor())
        total = sum(tensor.size_bytes for shard in shards for tensor in shard.tensors)
        weight_map = {tensor.name: shard.name for shard in shards for tensor in shard.tensors}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        contents = {"config.json": config, "generation_config.json": generation_config, INDEX_NAME: index}
        documents = {name: json.dumps(content, indent=2).encode() + b"\n" for name, content in contents.items()}
        return cls(config, documents, shards)

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.documents.values())) + sum(shard.size_bytes for shard in self.shards)

    def is_whole(self, folder: Path) -> bool:
        """Whether `folder` holds all files at their full size; a folder gets its name only once it is finished."""
        sizes = {name: len(text) for name, text in self.documents.items()}
        sizes |= {shard.name: shard.size_bytes for shard in self.shards}
        return all((folder / name).is_file() and (folder / name).stat().st_size == sizes[name] for name in sizes)


def split(all_tensors: list[Tensor]) -> tuple[Shard, ...]:
    """Files of at most SHARD_BYTES of weights each, filled in the order of the tensors, the output layer last."""
    groups: list[list[Tensor]] = [[]]
    room = SHARD_BYTES
    for tensor in sorted(all_tensors, key=lambda tensor: tensor.kind == "output"):
        if tensor.size_bytes > room and groups[-1]:
            groups.append([])
            room = SHARD_BYTES
        groups[-1].append(tensor)
        room -= tensor.size_bytes
    # Wide types first, as the safetensors library writes them: so each tensor is aligned in the file.
    ordered = [tuple(sorted(group, key=lambda tensor: (-BITS[tensor.dtype], tensor.name))) for group in groups]
    names = [f"model-{number:05d}-of-{len(groups):05d}.safetensors" for number in range(1, len(groups) + 1)]
    return tuple(Shard(name, _header(group), group) for name, group in zip(names, ordered, strict=True))


def _header(group: Iterable[Tensor]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in group:
        end = start + tensor.size_bytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _make(checkpoint: _Checkpoint, target: Path, seed: int, on_progress: OnProgress, *, replace: bool = False) -> None:
    from speed_benchmark.models.filler import Filler

    done_bytes, total_bytes = 0, checkpoint.size_bytes

    def advance(count_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += count_bytes
        on_progress(done_bytes, total_bytes)

    with _sole_maker(target) as partial:
        if checkpoint.is_whole(target):
            return
        _require_disk(checkpoint, target.parent)
        filler = Filler([tensor for shard in checkpoint.shards for tensor in shard.tensors], checkpoint.config, seed)
        for name, text in checkpoint.documents.items():
            _write(partial / name, [text], advance)
        for shard in checkpoint.shards:
            values = chain.from_iterable(map(filler.chunks, shard.tensors))
            _write(partial / shard.name, chain([shard.header], values), advance)
        files.sync_folder(partial)
        if replace and target.exists():
            shutil.rmtree(target)
        partial.rename(target)
        files.sync_folder(target.parent)


def _write(path: Path, pieces: Iterable[bytes | memoryview], on_bytes: Callable[[int], None]) -> None:
    """Write `pieces` to `path`, durably, and tell the bytes of each once it is written."""
    with path.open("wb") as file:
        for piece in pieces:
            on_bytes(file.write(piece))
        file.flush()
        os.fsync(file.fileno())


def _require_disk(checkpoint: _Checkpoint, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if checkpoint.size_bytes > free:
        raise NotEnoughDiskError(
            f"made-up weights need {checkpoint.size_bytes / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free: "
            "make room, or name a larger disk by XDG_CACHE_HOME or --out"
        )


@contextmanager
def _sole_maker(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` to make it in, to be renamed to `target`; waits while another process has it.

    What is left of an interrupted making is removed, this one's too.
    """
    partial = target.with_name(f".{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.locked(partial.with_suffix(".lock")) as refusal:
        if refusal:  # another process may be at it too: each makes its own
            partial = partial.with_stem(f"{partial.stem}-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what interrupted makings of any model left in `folder`; those under way are locked, and stay."""
    for leftover in [*folder.glob(".*.partial"), *folder.glob(".*.lock")]:
        with suppress(BlockingIOError), files.locked(leftover.with_suffix(".lock"), wait=False) as refusal:
            if not refusal:
                shutil.rmtree(leftover.with_suffix(".partial"), ignore_errors=True)
