"""Text of others on a terminal: one line of it, without what a terminal would obey."""

import unicodedata


def one_line(text: str) -> str:
    """`text` on one line, without control characters: a record of someone else's must not steer a terminal."""
    return " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in text).split())
