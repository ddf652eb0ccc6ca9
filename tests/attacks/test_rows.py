"""Every attack has a test."""

import re
from pathlib import Path

from tests.attacks.rows import ROWS

TESTS = Path(__file__).parents[1]


def test_every_attack_is_traced_to_a_test() -> None:
    marks = [re.findall(r"mark\.attack\(([^)]*)\)", file.read_text()) for file in TESTS.rglob("test_*.py")]
    named = {number for one in marks for names in one for number in re.findall(r'"([\d.]+)"', names)}
    assert named == ROWS.keys()
