"""The weight files of a checkpoint: which of its files an engine reads, and whether their headers fit their sizes."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}")
"""A file of a checkpoint's own folder: no path, and nothing that a pattern or a shell would read otherwise."""

MAX_INDEX_BYTES = 64_000_000


@dataclass(frozen=True)
class _Format:
    index: str
    single: str
    others: re.Pattern[str]


# Mistral's repositories hold `consolidated*` copies of the same weights beside the files that engines read.
SAFETENSORS = _Format(
    "model.safetensors.index.json", "model.safetensors", re.compile(r"(?!consolidated).*\.safetensors")
)
PICKLED = _Format("pytorch_model.bin.index.json", "pytorch_model.bin", re.compile(r"pytorch_model.*\.bin"))
INDEXES = (SAFETENSORS.index, PICKLED.index)


def names(folder: Path, there: Collection[str], *, allow_pickle: bool) -> list[str]:
    """Names of the weight files among the file names that are `there`; the index, if any, is read from `folder`.

    Safetensors come before pickled weights, and no weight is named in two formats. Raises ValueError, in words that
    follow the model's name, where there are none, the index is broken, or they are pickled and that is not allowed.
    """
    for weights in (SAFETENSORS, PICKLED) if allow_pickle else (SAFETENSORS,):
        if weights.index in there:
            found = _read_index(folder / weights.index)
            missing = sorted(found - set(there))
            if missing:
                raise ValueError(f"has no {missing[0]}, which its {weights.index} names; get the files again")
            if weights.single in there and weights.single not in found:
                raise ValueError(f"has both {weights.single} and {weights.index}; keep one of them")
        elif weights.single in there:
            found = {weights.single}
        else:
            found = {name for name in there if weights.others.fullmatch(name)}
        if found:
            return sorted(found)
    pickled = sorted(name for name in there if PICKLED.others.fullmatch(name))
    if pickled:
        raise ValueError(
            f"has pickled weights only ({pickled[0]}), and a pickle can run code when it is read; "
            "take a model in safetensors, or add --allow_pickle if you trust its makers"
        )
    raise ValueError("has no *.safetensors; put the weights there, or add --weights synthetic")


def find(folder: Path, *, allow_pickle: bool) -> tuple[Path, ...]:
    """The weight files in `folder`, each whole by its own header.

    Raises ValueError as `names` does, and for a file whose header does not fit its size.
    """
    there = {entry.name for entry in folder.iterdir() if entry.is_file()}
    files = tuple(folder / name for name in names(folder, there, allow_pickle=allow_pickle))
    for file in files:
        if file.suffix == ".safetensors":
            _check_header(file)
    return files


def _read_index(index: Path) -> set[str]:
    """The file names that an index maps tensors to."""
    with index.open("rb") as file:
        text = file.read(MAX_INDEX_BYTES + 1)
    try:
        mapped = json.loads(text) if len(text) <= MAX_INDEX_BYTES else None
    except (ValueError, RecursionError):
        mapped = None
    found = mapped.get("weight_map") if isinstance(mapped, dict) else None
    if not isinstance(found, dict) or not found:
        raise ValueError(f"its {index.name} is no index of weights; get the file again")
    for name in found.values():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"its {index.name} names {str(name)[:60]!a}, which is no file of its own folder")
    return set(found.values())


def _check_header(file: Path) -> None:
    """Raise ValueError unless the header of a safetensors file describes all bytes that follow it, and no others."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ValueError(f"its {file.name} is not whole ({error}); get the file again") from error
