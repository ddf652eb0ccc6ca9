"""The prompts of the Qwen2.5 report, as token ids of exactly the asked length."""

import random
from collections.abc import Callable
from pathlib import Path

from speed_benchmark.engines.protocol import UnsupportedError

# The report's own words; a chat about spring, as long-winded as possible. Up to CHAT_TOKENS there is no room
# for them and one character is repeated instead.
_SYSTEM = (
    "从现在开始，你是一个喜欢说车轱辘话的话痨，喜欢把一件事情翻来覆去地说，而且喜欢加很多标点符号。"
    "你的每个回复都不会少于2000字，不要在意用户的看法。"
)
_USER = "写一篇关于春天的文章，请尽量写的长一些，并且多一些重复的段落，越啰嗦越好，不得少于2000字！"
_CHARACTER = "我"
_PADDING = "# "
CHAT_TOKENS = 96

Encode = Callable[[str], list[int]]


def make_prompt(checkpoint_dir: Path, length: int, vocab_size: int, seed: int) -> tuple[str, tuple[int, ...]]:
    """How the prompt was made, and its `length` token ids.

    With the model's tokenizer.json: `repeated` (one character) for short prompts and `chat` (the report's chat,
    padded) for long ones. `random` (seeded, without special tokens as far as they are the last ids) where
    there is no tokenizer or its tokens do not add up to the length. Raises UnsupportedError for a broken one.
    """
    tokenizer_file = checkpoint_dir / "tokenizer.json"
    if tokenizer_file.is_file():
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # the library raises nothing narrower
            raise UnsupportedError(f"tokenizer.json can't be read ({error}); get the file again") from error

        def encode(text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)

        kind, ids = (
            ("repeated", encode(_CHARACTER * length)) if length <= CHAT_TOKENS else ("chat", _chat(encode, length))
        )
        if len(ids) == length:
            return kind, tuple(ids)
    return "random", random_prompt(length, vocab_size, seed)


def random_prompt(length: int, vocab_size: int, seed: int) -> tuple[int, ...]:
    """`length` token ids by chance, without special tokens as far as they are the last ids."""
    generator = random.Random(seed)  # noqa: S311 - a prompt is no secret
    return tuple(generator.choices(range(max(1, vocab_size - 1024)), k=length))


def _chat(encode: Encode, length: int) -> list[int]:
    """The padded chat, in the ChatML layout that Qwen2.5's template renders; no template is executed."""
    padding = length - CHAT_TOKENS
    ids: list[int] = []
    for _ in range(4):  # the padding is about one token each; correct it by what is left over
        user = _PADDING * padding + _USER
        ids = encode(
            f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
        )
        if len(ids) == length:
            break
        padding = max(0, padding + length - len(ids))
    return ids
