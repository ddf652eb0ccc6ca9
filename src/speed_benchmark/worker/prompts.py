"""The prompts of the Qwen2.5 report, as token ids of exactly the asked length, and others like them for a batch."""

import random
from collections.abc import Callable, Collection, Iterator
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
# What other sequences of a batch repeat: first the chat's characters, mostly of one token each, then all common ones.
_OTHER_CHARACTERS = (*dict.fromkeys(_USER + _SYSTEM), *map(chr, range(0x4E00, 0xA000)))
# The last ids of a vocabulary, where special tokens are.
_SPECIAL_IDS = 1024

Encode = Callable[[str], list[int]]
Prompt = tuple[int, ...]


def make_prompts(
    checkpoint_dir: Path, length: int, vocab_size: int, seed: int, count: int
) -> tuple[str, tuple[Prompt, ...]]:
    """How the first prompt was made, and `count` different prompts of `length` token ids each.

    With the model's tokenizer.json: `repeated` (one character) for short prompts and `chat` (the report's chat,
    padded) for long ones; the other prompts repeat other characters, and number the chat. `random` (seeded, without
    the ids at the end of the vocabulary, where special tokens are) without a tokenizer, and for each prompt whose
    tokens don't add up to the length. Prompts are alike only where no others of this length exist.
    Raises UnsupportedError for a broken tokenizer, and for one that gives ids which the model does not have: it belongs
    to another model, for a vocabulary may be padded beyond its tokenizer and never the other way round.
    """
    encode = _tokenizer(checkpoint_dir, vocab_size)
    texts = _texts(encode, length) if encode else iter(())
    first = next(texts, None)
    kind = "random" if first is None else "repeated" if length <= CHAT_TOKENS else "chat"
    prompts = [first or random_prompt(length, vocab_size, seed)]
    seen = set(prompts)
    for index in range(1, count):
        prompt = next((ids for ids in texts if ids not in seen), None) if first else None
        prompt = prompt or _other(random_prompt(length, vocab_size, seed + index), seen, vocab_size, count)
        prompts.append(prompt)
        seen.add(prompt)
    return kind, tuple(prompts)


def random_prompt(length: int, vocab_size: int, seed: int) -> Prompt:
    """`length` token ids by chance, without those at the end of the vocabulary, where special tokens are."""
    generator = random.Random(seed)  # noqa: S311 - a prompt is no secret
    return tuple(generator.choices(range(max(1, vocab_size - _SPECIAL_IDS)), k=length))


def _tokenizer(checkpoint_dir: Path, vocab_size: int) -> Encode | None:
    """Text to token ids of the model, by the tokenizer.json of the folder; None where it has none."""
    file = checkpoint_dir / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise UnsupportedError(f"tokenizer.json can't be read ({error}); get the file again") from error

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        largest = max(ids, default=0)
        if largest >= vocab_size:
            has = f"by its config.json the model has {vocab_size}"
            raise UnsupportedError(f"tokenizer.json gives the id {largest}, but {has}; get the file that belongs to it")
        return ids

    return encode


def _texts(encode: Encode, length: int) -> Iterator[Prompt]:
    """Prompts made of text, as far as they have exactly `length` tokens; nothing where already the first has not."""
    made = _repeated(encode, length) if length <= CHAT_TOKENS else _chats(encode, length)
    for number, ids in enumerate(made):
        if len(ids) == length:
            yield ids
        elif not number or length > CHAT_TOKENS:
            return


def _repeated(encode: Encode, length: int) -> Iterator[Prompt]:
    for character in (_CHARACTER, *_OTHER_CHARACTERS):
        yield tuple(encode(character * length))


def _chats(encode: Encode, length: int) -> Iterator[Prompt]:
    """The padded chat, and then the same with a number at its beginning, so that no two share more than a few tokens.

    In the ChatML layout that Qwen2.5's template renders; no template is executed.
    """
    padding, number = length - CHAT_TOKENS, ""
    for index in range(1, 10_000):
        for _ in range(4):  # the padding is about one token each; correct it by what is left over
            ids = encode(
                f"<|im_start|>system\n{number}{_SYSTEM}<|im_end|>\n"
                f"<|im_start|>user\n{_PADDING * padding}{_USER}<|im_end|>\n<|im_start|>assistant\n"
            )
            if len(ids) == length:
                break
            padding = max(0, padding + length - len(ids))
        yield tuple(ids)
        number = f"{index:04}"


def _other(prompt: Prompt, seen: Collection[Prompt], vocab_size: int, count: int) -> Prompt:
    """A prompt that is not in `seen`, `prompt` itself if it isn't; any where all that exist are."""
    usable = max(1, vocab_size - _SPECIAL_IDS)
    # Four ids of eight already make 4096 prompts, the largest batch.
    base = usable if usable ** min(len(prompt), 4) >= count else max(1, vocab_size)
    for _ in range(len(seen)):
        if prompt not in seen:
            break
        prompt = _next(prompt, base)
    return prompt


def _next(prompt: Prompt, base: int) -> Prompt:
    """The next of all prompts of this length, as numbers of that base follow each other."""
    ids = list(prompt)
    for place, value in enumerate(ids):
        ids[place] = (value + 1) % base
        if ids[place]:
            break
    return tuple(ids)
