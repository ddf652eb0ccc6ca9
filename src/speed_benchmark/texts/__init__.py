"""What is said to people, in English and in Chinese: gettext catalogues (.po), read by Babel.

`locale/LANGUAGE/DOMAIN.po`: the domain `findings` has a text and a cure for each code of a finding, `report` the words
of tables, pages and the terminal. A message's id is its name in the code; values stand in it as `str.format` has them.
"""

from functools import cache
from importlib.resources import files
from typing import Literal

Language = Literal["en", "zh"]
Domain = Literal["findings", "report"]


@cache
def catalogue(language: Language, domain: Domain) -> dict[str, str]:
    """Message id -> text."""
    from babel.messages.pofile import read_po

    file = files("speed_benchmark.texts") / "locale" / language / f"{domain}.po"
    with file.open("rb") as content:
        found = read_po(content, abort_invalid=True)
    return {str(message.id): str(message.string) for message in found if message.id}
