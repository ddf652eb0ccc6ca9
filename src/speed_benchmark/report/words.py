"""What a report can be asked for, and the words that it is written in."""

from typing import Literal

from speed_benchmark.texts import Language, catalogue

__all__ = [
    "SPEED_FIELDS",
    "AnyFormat",
    "Format",
    "Language",
    "SpeedDefinition",
    "SpeedField",
    "TextFormat",
    "Words",
    "words",
]

SpeedDefinition = Literal["qwen2.5", "qwen3"]
TextFormat = Literal["text", "markdown", "rst", "csv", "json"]
Format = Literal[TextFormat, "html"]
AnyFormat = Literal[Format, "jsonl", "parquet"]
SpeedField = Literal["generation_tokens_per_s", "total_tokens_per_s"]
Words = dict[str, str]

SPEED_FIELDS: dict[SpeedDefinition, SpeedField] = {
    "qwen2.5": "generation_tokens_per_s",
    "qwen3": "total_tokens_per_s",
}


def words(language: Language) -> Words:
    """Id -> text, of all that reports say."""
    return catalogue(language, "report")
