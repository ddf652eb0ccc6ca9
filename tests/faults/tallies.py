"""Name of a kind of fault -> how many were met, and how many were injected."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Tally = Callable[[str], AbstractContextManager[None]]
counts: dict[str, list[int]] = {}
