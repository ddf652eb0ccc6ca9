"""Small tokenizers of the kinds that models have, each made by the library that reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CORPUS = [
    "I saw the spring come back, and I wrote an article about it: long paragraphs, long words, 2000 of them.",
    "Write and Make, repeat yourself in many ways, as long as you can. The more long-winded the better; 0123 4567 89.",
] * 20
SPRING = [*CORPUS, *["写一篇关于春天的文章，我喜欢春天。# # # 从现在开始"] * 20]


def of_bytes(folder: Path) -> None:
    """BPE of bytes with its special tokens first, as GPT-2's descendants have it."""
    _save(folder, _bytes(["<|begin|>", "<|end|>", "<|pad|>"], CORPUS))


def of_chatml(folder: Path) -> None:
    """The same with the marks of ChatML, and Chinese in its vocabulary."""
    _save(folder, _bytes(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], SPRING))


def of_wordpieces(folder: Path) -> None:
    """WordPiece that knows no Chinese, and cuts and pads what it is given to 32 tokens, as BERT's does."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    tokenizer.enable_truncation(32)
    tokenizer.enable_padding(length=32)
    _save(folder, tokenizer)


def of_pieces(folder: Path) -> None:
    """Unigram as SentencePiece has it; its unknown token is told by `unk_id` alone."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)  # noqa: S106
    tokenizer.train_from_iterator(CORPUS, trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = []
    (folder / "tokenizer.json").write_text(json.dumps(content))


def of_pieces_and_bytes(folder: Path) -> None:
    """BPE of words with a mark before them, that spells unknown characters in bytes, as Llama 2's does."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)"), "isolated")
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:3]
    (folder / "tokenizer.json").write_text(json.dumps(content))


def of_added_tokens_in_the_middle(folder: Path) -> None:
    """BPE of bytes where learnt tokens in the middle of the ids, " the" among them, were made added ones later."""
    content = json.loads(_bytes([], CORPUS).to_str())
    names = {number: text for text, number in content["model"]["vocab"].items()}
    made = {number: names[number].replace("Ġ", " ") for number in range(270, 320) if names[number].isascii()}
    made[content["model"]["vocab"]["Ġthe"]] = " the"
    content["added_tokens"] = [_added(number, text) for number, text in sorted(made.items())]
    (folder / "tokenizer.json").write_text(json.dumps(content))


def of_characters(folder: Path) -> None:
    """Five letters, and an unknown token for all the rest."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2, "c": 3, "d": 4, "e": 5}, unk_token="?"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    _save(folder, tokenizer)


def of_nothing_unknown(folder: Path) -> None:
    """WordPiece that fails at a word it does not know, for the token that stands for it is not there."""
    tokenizer = Tokenizer(models.WordPiece({f"w{number}": number for number in range(300)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    _save(folder, tokenizer)


def of_sentences(folder: Path) -> None:
    """BPE that merges whole sentences of one word and of the text, so that repeating them gives no more tokens."""
    vocabulary = {character: number for number, character in enumerate("I abcdefghijklmnopqrstuvwxyz")}
    merges = [("I", " "), *(("I " * 2**size,) * 2 for size in range(12))]
    vocabulary |= {"".join(pair): len(vocabulary) + number for number, pair in enumerate(merges)}
    _save(folder, Tokenizer(models.BPE(vocabulary, merges)))


def of_no_kind(folder: Path) -> None:
    """No tokenizer at all."""


KINDS: dict[str, Callable[[Path], None]] = {
    make.__name__: make
    for make in (
        of_bytes,
        of_chatml,
        of_wordpieces,
        of_pieces,
        of_pieces_and_bytes,
        of_added_tokens_in_the_middle,
        of_characters,
        of_nothing_unknown,
        of_sentences,
        of_no_kind,
    )
}


def _bytes(special: list[str], corpus: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def _added(number: int, content: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": number, "content": content, **flags}


def _save(folder: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
