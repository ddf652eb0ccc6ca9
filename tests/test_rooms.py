"""No engine is named outside its folder: what others must know of it, it says in its settings class."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "speed_benchmark"
FILES = [file for file in sorted(SOURCE.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
OUTSIDE = [file for file in FILES if SOURCE / "engines" not in file.parents]
# What is not written by hand: published figures, which are of the two engines of the report.
DATA = SOURCE / "report" / "data"


def named(tree: ast.AST, name: str) -> Iterator[int]:
    """The lines where `name` is an identifier or a whole string literal; imports of a library and docstrings aside."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)} - {
        id(node) for node in ast.walk(tree) if not isinstance(node, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.alias) or id(node) in docstrings:
            continue
        words = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "value"))
        if any(word == name for word in words if isinstance(word, str)):
            yield getattr(node, "lineno", 0)


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("'''transformers'''\nimport transformers\nfrom transformers import AutoConfig", []),
        ("def f():\n    'transformers'\n    from transformers.models import auto", []),
        ("x = 'of transformers'", []),
        ("x = 'transformers'", [1]),
        ("if engine == 'transformers':\n    pass", [1]),
        ("transformers = 1", [1]),
        ("f(transformers=1)", [1]),
        ("def transformers():\n    pass", [1]),
        ("x.transformers", [1]),
        ("LAYER_S = {'transformers': 1}", [1]),
    ],
)
def test_what_counts_as_a_name(code: str, lines: list[int]) -> None:
    assert list(named(ast.parse(code), "transformers")) == lines


def test_no_line_outside_engines_names_vllm() -> None:
    found = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in OUTSIDE
        if DATA not in file.parents
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if "vllm" in line.lower()
    ]
    assert found == []


def test_no_code_outside_engines_names_transformers_as_an_engine() -> None:
    found = [
        f"{file.relative_to(SOURCE)}:{number}"
        for file in OUTSIDE
        if file.suffix == ".py"
        for number in named(ast.parse(file.read_text(encoding="utf-8")), "transformers")
    ]
    assert found == []
