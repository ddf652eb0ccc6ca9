"""What a checkpoint from elsewhere may not do: run code, reach out of its folder, or be larger than it should."""

import os
from collections.abc import Mapping
from pathlib import Path

from speed_benchmark.models import weights
from speed_benchmark.models.config import Config, text_config

MAX_BYTES = {
    "config.json": 1_000_000,
    "generation_config.json": 1_000_000,
    "quantize_config.json": 1_000_000,
    "tokenizer_config.json": 10_000_000,
    "tokenizer.json": 100_000_000,
    **dict.fromkeys(weights.INDEXES, weights.MAX_INDEX_BYTES),
}
"""The files other than weights that are fetched or read, and the most that each may hold."""

# Less than each weight of any format takes, so that only a config that lies is caught.
_LEAST_BITS = 1


def check_sizes(sizes_bytes: Mapping[str, int]) -> None:
    """Raise ValueError for a file of `sizes_bytes` (name -> size) that is larger than any such file is."""
    for name, limit in MAX_BYTES.items():
        if sizes_bytes.get(name, 0) > limit:
            raise ValueError(f"its {name} is larger than {limit} bytes; name a model whose files can be trusted")


def check_folder(folder: Path) -> None:
    """Raise ValueError where a file in `folder` is too large, or is a link that leaves it.

    In the cache of Hugging Face files are links to `blobs` beside the snapshots, or to `blobs` of the whole cache.
    """
    allowed = [folder.resolve()]
    if folder.parent.name == "snapshots":
        allowed += [folder.parent.parent.resolve() / "blobs", folder.parent.parent.parent.resolve() / "blobs"]
    sizes_bytes = {}
    for entry in folder.iterdir():
        target = Path(os.path.realpath(entry))
        if entry.is_symlink() and not any(target.is_relative_to(root) for root in allowed):
            raise ValueError(f"its {entry.name[:60]} is a link out of the folder; name the folder that holds the file")
        if entry.is_file():
            sizes_bytes[entry.name] = entry.stat().st_size
    check_sizes(sizes_bytes)


def check_code(folder: Path, config: Config, *, trust_remote_code: bool) -> None:
    """Raise ValueError where the checkpoint brings code that was not allowed, naming the files that would run."""
    elsewhere = [reference for reference in _references(config) if "--" in reference]
    if elsewhere:
        raise ValueError(f"runs code of another repository ({elsewhere[0][:60]!a}), which is never fetched here")
    files = sorted({f"{reference.split('.')[0]}.py" for reference in _references(config)})
    if (folder / "custom_generate" / "generate.py").is_file():
        files.append("custom_generate/generate.py")
    if files and not trust_remote_code:
        shown = ", ".join(name[:60] for name in files[:5])
        raise ValueError(f"would run code of its own ({shown}); read it, then add --trust_remote_code{_pin(folder)}")


def check_weights(config: Config, weight_file_bytes: int) -> None:
    """Raise ValueError where `config` describes other weights than the files hold.

    For far more weights than there are an engine would make room; `transformers_weights` names other files.
    """
    if config.get("transformers_weights") is not None:
        raise ValueError(
            "names its weight files in its config.json, which one engine would follow; give the usual names"
        )
    least_bytes = _least_weights(text_config(config)) * _LEAST_BITS // 8
    if least_bytes > weight_file_bytes:
        raise ValueError(
            f"its config.json describes more than {least_bytes} bytes of weights, its files hold {weight_file_bytes}; "
            "get the files again"
        )


def _least_weights(config: Config) -> int:
    """The weights of the embedding and of two products a layer, as far as the config tells their sizes."""
    names = ("hidden_size", "vocab_size", "intermediate_size", "num_hidden_layers")
    hidden, vocabulary, intermediate, layers = (
        size if isinstance(size := config.get(name), int) else 0 for name in names
    )
    return hidden * (vocabulary + layers * 2 * intermediate)


def has_code(config: Config) -> bool:
    """Whether `config` names code that comes with the model."""
    return bool(_references(config))


def _references(config: Config) -> list[str]:
    """Classes of `auto_map`, as `module.Class` or `owner/name--module.Class`."""
    auto_map = config.get("auto_map")
    if not auto_map:
        return []
    values = auto_map.values() if isinstance(auto_map, dict) else [auto_map]
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return [str(item) for item in flat if item is not None]


def _pin(folder: Path) -> str:
    """How to allow the very commit that was looked at; nothing for a folder that is no commit."""
    return f" --revision {folder.name}" if folder.parent.name == "snapshots" else ""
