"""Graphics cards that are not here: their memory and the bandwidth of their data sheets, as data (`cards.toml`)."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from speed_benchmark.errors import UserError
from speed_benchmark.machine.device import Device

# The 24 GB that a card is sold with are 24 GiB.
_SIZE = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)\s*Gi?B", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Card:
    """A card: its memory as the driver says it, its bandwidth by NVIDIA's data sheet, and which sheet that is."""

    memory_mib: int
    gb_per_s: float
    sheet: str


@cache
def cards() -> dict[str, Card]:
    """All that are known, by name."""
    text = resources.files(__package__).joinpath("cards.toml").read_text(encoding="utf-8")
    return {name: Card(**fields) for name, fields in tomllib.loads(text).items()}


def named(text: str) -> Device:
    """One card that `text` names, as `H100` or `rtx 4090`, or one of so much memory, as `24GiB`, of unknown bandwidth.

    Raises UserError for any other text.
    """
    size = _SIZE.fullmatch(text.strip())
    if size:
        memory_bytes = int(float(size[1]) * 2**30)
        if memory_bytes:
            return Device(gpus=1, memory_bytes=memory_bytes, bytes_per_s=0.0, name=f"{size[1]} GiB")
    keys = {_key(name): name for name in cards()}
    like = [keys[_key(text)]] if _key(text) in keys else [name for key, name in keys.items() if _key(text) in key]
    if len(like) != 1:
        raise UserError("--gpu", text, f"name one of {', '.join(like or cards())}, or a size of memory, like 24GiB")
    (name,) = like
    card = cards()[name]
    return Device(gpus=1, memory_bytes=card.memory_mib * 2**20, bytes_per_s=card.gb_per_s * 1e9, name=name)


def _key(text: str) -> str:
    """A name as people write it, without the maker's words, blanks and dashes: `geforce-rtx-4090` is `rtx4090`."""
    return re.sub(r"nvidia|geforce|[^a-z0-9]", "", text.casefold())
