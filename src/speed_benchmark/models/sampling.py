"""How a model samples by itself, as its generation_config.json says."""

from pathlib import Path

from pydantic import ValidationError

from speed_benchmark.errors import UserError
from speed_benchmark.models import checkpoint
from speed_benchmark.models.config import Config
from speed_benchmark.record.engine import Sampling

_FILE = "generation_config.json"


def read_sampling(folder: Path) -> Sampling:
    """The sampling of the model in `folder`; greedy where it has no such file. Raises UserError."""
    try:
        return sampling_of(checkpoint.read_generation_config(folder))
    except ValueError as error:
        raise UserError("--model_id_or_path", folder, str(error)) from error


def sampling_of(generation_config: Config) -> Sampling:
    """The sampling that a generation config asks for; greedy where it does not sample, or at a temperature of 0.

    What it leaves out is without effect, a temperature of 1. Raises ValueError for what makes no sense.
    """
    sampled = generation_config.get("do_sample") or False
    if not isinstance(sampled, bool):
        raise ValueError(f"do_sample in its {_FILE} is neither true nor false; mend it, or use --sampling greedy")
    keys = Sampling.model_fields if sampled else ("repetition_penalty",)
    given = {key: generation_config[key] for key in keys if generation_config.get(key) is not None}
    try:
        found = Sampling.model_validate({"temperature": 1.0 if sampled else 0.0} | given, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = str(first["msg"]).replace("Input", "it", 1)
        raise ValueError(f"{first['loc'][0]} in its {_FILE}: {message}; mend it, or use --sampling greedy") from None
    return found if found.temperature else Sampling(repetition_penalty=found.repetition_penalty)
