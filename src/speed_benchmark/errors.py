"""The one error a user is meant to read."""

from speed_benchmark.terminal import one_line


class UserError(Exception):
    """Bad input, said in one line: the option, the value given, and what to do.

    Raised only before anything is measured; what goes wrong later is an outcome in a record.
    """

    def __init__(self, option: str, value: object, cure: str) -> None:
        """Name the `option` as the user typed it, the `value` given and the `cure`."""
        self.option = option
        self.value = value
        self.cure = cure
        super().__init__(one_line(f"{option} {_shown(value)}: {cure}"))


def _shown(value: object) -> str:
    text = "" if value is None else str(value) or "''"
    return text if len(text) <= 120 else f"{text[:60]}…{text[-50:]}"
