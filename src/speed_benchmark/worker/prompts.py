"""The prompts of the Qwen2.5 report, as token ids of exactly the asked length, and others like them for any model."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, cycle, islice, product
from pathlib import Path

from speed_benchmark.worker.vocabulary import Prompt, Vocabulary, read_vocabulary

# The report's own words; a chat about spring, as long-winded as possible. Up to CHAT_TOKENS there is no room
# for them and one character is repeated instead.
_SYSTEM = (
    "从现在开始，你是一个喜欢说车轱辘话的话痨，喜欢把一件事情翻来覆去地说，而且喜欢加很多标点符号。"
    "你的每个回复都不会少于2000字，不要在意用户的看法。"
)
_USER = "写一篇关于春天的文章，请尽量写的长一些，并且多一些重复的段落，越啰嗦越好，不得少于2000字！"
_CHARACTER = "我"
_PADDING = "# "
# The marks of ChatML, between which each turn of a chat stands.
_MARKS = ("<|im_start|>", "<|im_end|>")
CHAT_TOKENS = 96
# What other sequences of a batch repeat: first the chat's characters, mostly of one token each, then all common ones.
_OTHER_CHARACTERS = (*dict.fromkeys(_USER + _SYSTEM), *map(chr, range(0x4E00, 0xA000)))
# The same for a tokenizer to which the report's prompts are no whole tokens, or which does not know them.
_WORD = "I"
_TEXT = (
    "Write an article about spring. Make it as long as you can and repeat yourself in many paragraphs: "
    "the more long-winded the better, and no less than 2000 words. "
)
# What tells the prompts of a batch apart: more numbers than a batch has sequences.
_NUMBERS = tuple(f"{index:04}" for index in range(1, 10_000))


def make_prompts(
    checkpoint_dir: Path, length: int, vocab_size: int, seed: int, count: int
) -> tuple[str, tuple[Prompt, ...]]:
    """How the first prompt was made, and `count` different prompts of `length` token ids each.

    By the model's tokenizer.json: the report's prompts where they come out exact, `repeated` (one character) for short
    ones and `chat` (padded) for long ones; else `repeated` (one word) and `text` (repeated and cut). The other prompts
    repeat other characters or words, and number the chat or the text. `random` without a tokenizer, and for what it
    can't write: ids of ordinary tokens by chance (seeded). No token is special but the marks of the chat's turns.
    Prompts are alike only where no others of this length exist. Raises UnsupportedError for broken files, and for a
    tokenizer that gives ids which the model does not have: it belongs to another model, for a vocabulary may be padded
    beyond its tokenizer and never the other way round.
    """
    vocabulary = read_vocabulary(checkpoint_dir, vocab_size)
    kind, texts = _texts(vocabulary, length)
    found = _different(chain(islice(texts, count), _by_chance(vocabulary, length, seed, count)), count)
    return kind, tuple(islice(cycle(found), count))


def random_prompts(checkpoint_dir: Path, length: int, vocab_size: int, seed: int, count: int) -> tuple[Prompt, ...]:
    """`count` prompts of `length` ids of ordinary tokens by chance, each by a seed of its own, from `seed` on."""
    return tuple(islice(_by_chance(read_vocabulary(checkpoint_dir, vocab_size), length, seed, count), count))


def _by_chance(vocabulary: Vocabulary, length: int, seed: int, count: int) -> Iterator[Prompt]:
    """`count` prompts by chance, then all that there are: where they are few, chance repeats itself."""
    ordinary = vocabulary.ordinary()
    for index in range(count):
        yield tuple(random.Random(seed + index).choices(ordinary, k=length))  # noqa: S311 - a prompt is no secret
    yield from product(ordinary, repeat=length)


def _different(prompts: Iterable[Prompt], count: int) -> list[Prompt]:
    """The first `count` of `prompts` that are not alike; fewer where there are no more."""
    found: dict[Prompt, None] = {}
    for prompt in prompts:
        found[prompt] = None
        if len(found) == count:
            break
    return list(found)


def _texts(vocabulary: Vocabulary, length: int) -> tuple[str, Iterator[Prompt]]:
    """The prompts of the first way to write text that gives one of this length, and its name."""
    for kind, way in _SHORT if length <= CHAT_TOKENS else _LONG:
        prompts = way(vocabulary, length)
        first = next(prompts, None)
        if first:
            return kind, chain([first], prompts)
    return "random", iter(())


def _characters(vocabulary: Vocabulary, length: int) -> Iterator[Prompt]:
    """A character repeated as often as it has tokens to be; nothing where the report's own does not come out."""
    for character in (_CHARACTER, *_OTHER_CHARACTERS):
        ids = vocabulary.encode(character * length)
        if len(ids) == length and vocabulary.special.isdisjoint(ids):
            yield ids
        elif character == _CHARACTER:
            return


def _words(vocabulary: Vocabulary, length: int) -> Iterator[Prompt]:
    """A word again and again, as far as there is room for it; then numbers, where the tokenizer knows digits."""
    for word in dict.fromkeys((_WORD, *_TEXT.split(), *_NUMBERS)):
        ids = vocabulary.encode(f"{word} " * length)[:length]
        if len(ids) == length and vocabulary.special.isdisjoint(ids):
            yield ids
        elif word.isdecimal():
            return


def _chats(vocabulary: Vocabulary, length: int) -> Iterator[Prompt]:
    """The padded chat, and then the same with a number at its beginning, so that no two share more than a few tokens.

    In the ChatML layout that Qwen2.5's template renders, where the model has its marks; no template is executed.
    """
    if not vocabulary.added.keys() >= set(_MARKS):
        return
    start, end = _MARKS
    others = vocabulary.special - {vocabulary.added[mark] for mark in _MARKS}
    padding = length - CHAT_TOKENS
    for number in ("", *_NUMBERS):
        for _ in range(4):  # the padding is about one token each; correct it by what is left over
            ids = vocabulary.encode(
                f"{start}system\n{number}{_SYSTEM}{end}\n"
                f"{start}user\n{_PADDING * padding}{_USER}{end}\n{start}assistant\n"
            )
            if len(ids) == length:
                break
            padding = max(0, padding + length - len(ids))
        if len(ids) != length or not others.isdisjoint(ids):
            return
        yield ids


def _paragraphs(vocabulary: Vocabulary, length: int) -> Iterator[Prompt]:
    """A text again and again, cut where it is long enough, and then the same with a number at its beginning."""
    tokens = len(vocabulary.encode(_TEXT))
    for number in ("", *_NUMBERS) if tokens else ():
        ids = vocabulary.encode(f"{number} {_TEXT * (length // tokens + 2)}".lstrip())[:length]
        if len(ids) != length or not vocabulary.special.isdisjoint(ids):
            return
        yield ids


_Ways = tuple[tuple[str, Callable[[Vocabulary, int], Iterator[Prompt]]], ...]
# The report's way first.
_SHORT: _Ways = (("repeated", _characters), ("repeated", _words))
_LONG: _Ways = (("chat", _chats), ("text", _paragraphs))
