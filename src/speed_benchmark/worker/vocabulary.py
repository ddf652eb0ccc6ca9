"""The token ids of a model: text to ids, and which of them ordinary text has."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed_benchmark.engines.protocol import UnsupportedError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Prompt = tuple[int, ...]

_NAMES_OF_TEXT = ("_token", "_tokens")
_NAMES_OF_IDS = ("_token_id", "_token_ids", "_token_index")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model with `size` ids, by its tokenizer.json where it has one.

    `added` are the tokens beside those that were learnt, by their text. `special` are the ids that ordinary text does
    not have: those of added tokens, of the unknown token, and of all that the configs of the checkpoint name (where a
    text begins and ends, what pads it, where an image stands).
    """

    size: int
    special: frozenset[int]
    added: Mapping[str, int] = field(default_factory=dict)
    tokenizer: "Tokenizer | None" = None

    def ordinary(self) -> Sequence[int]:
        """The ids of ordinary tokens, in order; without a tokenizer all but the special ones, all where none is left.

        A model may have ids beyond its tokenizer's, which stand for nothing.
        """
        known = self.tokenizer.get_vocab(with_added_tokens=False).values() if self.tokenizer else range(self.size)
        return sorted(token for token in known if token < self.size and token not in self.special) or range(self.size)

    def encode(self, text: str) -> Prompt:
        """The ids of `text` alone; none without a tokenizer, and none of a text that it can't write.

        Raises UnsupportedError for an id that the model lacks.
        """
        if self.tokenizer is None:
            return ()
        try:
            ids = tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)
        except Exception:  # noqa: BLE001 - nothing narrower is raised for an unknown character without a token for it
            return ()
        largest = max(ids, default=0)
        if largest >= self.size:
            has = f"by its config.json the model has {self.size}"
            raise UnsupportedError(f"tokenizer.json gives the id {largest}, but {has}; get the file that belongs to it")
        return ids


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The vocabulary of the model in `folder`, which has `size` ids. Raises UnsupportedError for broken files.

    All files are read as data: no code of a model is imported, no template rendered.
    """
    special = set(_ids(_read(folder / "config.json")))
    config = _read(folder / "tokenizer_config.json")
    listed = config.get("added_tokens_decoder")
    if isinstance(listed, dict):
        special.update(number for number in range(size) if str(number) in listed)
    file = folder / "tokenizer.json"
    if not file.is_file():
        return Vocabulary(size, frozenset(special))
    tokenizer, unknown = _tokenizer(file)
    added = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}
    named = (tokenizer.token_to_id(text) for text in _texts(config))
    special.update(number for number in (*added.values(), *named, unknown) if number is not None)
    return Vocabulary(size, frozenset(special), added, tokenizer)


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint, whose size was checked; {} where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedError(f"{path.name} can't be read; get the file again") from error
    return content if isinstance(content, dict) else {}


def _tokenizer(file: Path) -> "tuple[Tokenizer, int | None]":
    """The tokenizer in `file`, which gives all tokens of a text and no more, and its id of what it does not know."""
    from tokenizers import Tokenizer, models

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise UnsupportedError(f"tokenizer.json can't be read ({error}); get the file again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.model, models.Unigram):  # which tells it in its file alone
        return tokenizer, json.loads(file.read_bytes())["model"].get("unk_id")
    text = tokenizer.model.unk_token
    return tokenizer, None if text is None else tokenizer.token_to_id(text)


def _ids(config: Mapping[str, Any]) -> Iterator[int]:
    """The ids of tokens that a config names, and the configs of a model's parts within it."""
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key, value in part.items():
            if key.endswith(_NAMES_OF_IDS):
                yield from (number for number in _listed(value) if isinstance(number, int))


def _texts(config: Mapping[str, Any]) -> Iterator[str]:
    """The texts of tokens that a tokenizer_config.json names: by themselves, in lists, and with their properties."""
    for key, value in config.items():
        if key.endswith(_NAMES_OF_TEXT):
            for token in _listed(value):
                text = token.get("content") if isinstance(token, dict) else token
                if isinstance(text, str):
                    yield text


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]
