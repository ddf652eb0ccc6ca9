"""Prompts have exactly the asked length, differ, and hold ordinary tokens alone, whatever tokenizer a model has."""

import json
from itertools import chain
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from speed_benchmark.engines.protocol import UnsupportedError
from speed_benchmark.worker.prompts import make_prompts, random_prompts
from tests.worker import tokenizers

SIZE = 600
LENGTHS = (1, 2, 7, 96, 97, 200, 1000, 3000)
# By kind of tokenizer: how prompts of at most 96 tokens are made, how long ones are, and the tokens that must not
# be among them.
CASES = {
    "of_bytes": ("repeated", "text", ["<|begin|>", "<|end|>", "<|pad|>"]),
    "of_chatml": ("repeated", "chat", ["<|endoftext|>"]),
    "of_wordpieces": ("repeated", "text", ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]),
    "of_pieces": ("repeated", "text", ["<unk>"]),
    "of_pieces_and_bytes": ("repeated", "text", ["<unk>", "<s>", "</s>"]),
    "of_added_tokens_in_the_middle": ("repeated", "random", [" the"]),
    "of_characters": ("random", "random", ["?"]),
    "of_nothing_unknown": ("random", "random", []),
    "of_sentences": ("repeated", "text", []),
    "of_no_kind": ("random", "random", []),
}


def _decoded(folder: Path, ids: tuple[int, ...]) -> str:
    return str(Tokenizer.from_file(str(folder / "tokenizer.json")).decode(ids, skip_special_tokens=False))


@pytest.mark.parametrize("name", tokenizers.KINDS)
def test_exact_and_ordinary_for_any_tokenizer(tmp_path: Path, name: str) -> None:
    short, long, never = CASES[name]
    tokenizers.KINDS[name](tmp_path)
    forbidden: set[int | None] = set()
    if (tmp_path / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        forbidden = {tokenizer.token_to_id(text) for text in never}
        assert None not in forbidden
        forbidden |= tokenizer.get_added_tokens_decoder().keys() - ({1, 2} if long == "chat" else set())
    for length in LENGTHS:
        kind, prompts = make_prompts(tmp_path, length, SIZE, seed=0, count=5)
        assert {len(ids) for ids in prompts} == {length}
        assert len(set(prompts)) == 5
        assert forbidden.isdisjoint(chain(*prompts)), length
        if 2 < length <= 96 or length > 500:  # a letter may be a word of one or two tokens, a chat needs some room
            assert kind == (short if length <= 96 else long), length
        fresh = random_prompts(tmp_path, length, SIZE, seed=5, count=5)
        assert {len(ids) for ids in fresh} == {length}
        assert forbidden.isdisjoint(chain(*fresh))


def test_what_the_prompts_of_another_tokenizer_say(tmp_path: Path) -> None:
    tokenizers.of_bytes(tmp_path)
    _, (first, second) = make_prompts(tmp_path, 40, SIZE, seed=0, count=2)
    assert _decoded(tmp_path, first) == "I" + " I" * 39, "one token each"
    assert _decoded(tmp_path, second).startswith("Write Write Write")
    _, (first, second) = make_prompts(tmp_path, 400, SIZE, seed=0, count=2)
    assert _decoded(tmp_path, first).startswith("Write an article about spring. Make it")
    assert _decoded(tmp_path, second).startswith("0001 Write an article about spring. Make it")


def test_the_chat_has_the_marks_of_the_model_and_no_other_special_token(tmp_path: Path) -> None:
    tokenizers.of_chatml(tmp_path)
    _, (ids,) = make_prompts(tmp_path, 1000, SIZE, seed=0, count=1)
    assert [token for token in ids if token < 3] == [1, 2, 1, 2, 1]
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if "im_" not in token["content"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    kind, (ids,) = make_prompts(tmp_path, 1000, SIZE, seed=0, count=1)
    assert kind == "text", "a model without these marks gets no chat between them"
    assert "im_start" not in _decoded(tmp_path, ids)


def test_an_added_token_that_the_text_has_keeps_it_away(tmp_path: Path) -> None:
    tokenizers.of_bytes(tmp_path)
    vocabulary = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab()
    assert make_prompts(tmp_path, 400, SIZE, seed=0, count=1)[0] == "text"
    for named in ({"eos_token": "Ġthe"}, {"extra_special_tokens": [{"content": "Ġthe"}]},
                  {"added_tokens_decoder": {str(vocabulary["Ġthe"]): {"content": " the"}}}):  # fmt: skip
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
        kind, prompts = make_prompts(tmp_path, 400, SIZE, seed=0, count=9)
        assert kind == "random", named
        assert vocabulary["Ġthe"] not in {token for ids in prompts for token in ids}


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("config.json", {"eos_token_id": 3}, {3}),
        ("config.json", {"pad_token_id": None, "text_config": {"bos_token_id": 0}, "image_token_index": 9}, {0, 9}),
        ("config.json", {"eos_token_id": [4, 6]}, {4, 6}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": "<s>"}}}, {7}),
    ],
)
def test_ids_that_a_config_names_are_left_out_without_a_tokenizer(
    tmp_path: Path, file: str, content: dict[str, object], named: set[int]
) -> None:
    (tmp_path / file).write_text(json.dumps(content))
    _, prompts = make_prompts(tmp_path, 500, 10, seed=0, count=3)
    assert {token for ids in prompts for token in ids} == set(range(10)) - named


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["{", '{"a":' * 100_000, "\ud800"])
def test_a_broken_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(UnsupportedError, match=rf"^{name} can't be read; get the file again$"):
        make_prompts(tmp_path, 5, SIZE, seed=0, count=1)
