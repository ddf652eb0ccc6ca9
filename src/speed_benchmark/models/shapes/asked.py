"""Shapes of models, asked of transformers in a child process, for this one imports no PyTorch; each is asked once.

Those of models that people use are data (`shapes.shipped`), and so known without transformers.
"""

import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from speed_benchmark import files
from speed_benchmark.cell import canonical_json
from speed_benchmark.models.config import Config
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes import shipped
from speed_benchmark.record.base import Frozen, Text
from speed_benchmark.terminal import one_line

VERSION = 1
"""Part of a kept shape's name: raise it when the same config comes to mean another."""

LIMIT_S = 120
"""What the child may take for one config: the longest known, DeepSeek-V3, took 20 s on two busy cores."""

# All that has a say in which tensors there are.
_PACKAGES = "accelerate, compressed-tensors, gptqmodel, kernels, optimum, torch, transformers"
_LONGEST_REASON = 300
# Without a GPU the same modules are built on every machine; one thread is enough where nothing is computed.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class ShapeError(Exception):
    """Why the shape of a model is not known, in words that follow the model's name."""


class Answer(Frozen):
    """What the child says of one config: its shape, or why there is none."""

    shape: Shape | None = None
    reason: Text = ""

    @classmethod
    def none(cls, reason: str) -> Self:
        """No shape, for a `reason` of any length."""
        return cls(reason=one_line(reason)[:_LONGEST_REASON])


def shape(config: Config) -> Shape:
    """The shape of the model of one config.json. Raises ShapeError."""
    (found,) = shapes([config])
    if isinstance(found, ShapeError):
        raise found
    return found


def shapes(configs: Sequence[Config], *, anew: bool = False) -> list[Shape | ShapeError]:
    """The shapes of the models of several config.json, asked in one child process; those known are not asked again.

    With `anew` what is shipped does not count.
    """
    versions = _versions()
    keys = [_key(config, versions) for config in configs]
    answers = {}
    for key, config in zip(keys, configs, strict=True):
        known = None if anew else shipped.shape(config)
        answer = Answer(shape=known) if known else _kept(key)
        if answer:
            answers[key] = answer
    missing = {key: config for key, config in zip(keys, configs, strict=True) if key not in answers}
    if missing and "torch" not in versions:
        nobody = Answer.none("has a shape that only transformers knows: install it")
        return [_result(answers.get(key, nobody)) for key in keys]
    while missing:
        said, last_words = _ask(list(missing.values()))
        for key, answer in zip(list(missing), said, strict=False):
            answers[key] = answer
            files.write_cache(_file(key), answer.model_dump_json().encode())
            del missing[key]
        if missing:  # it died of the next one, which may fare better on another day: that is not kept
            fatal = next(iter(missing))
            answers[fatal] = Answer.none(f"has a shape that could not be asked: {last_words}")
            del missing[fatal]
    return [_result(answers[key]) for key in keys]


def _ask(configs: list[Config]) -> tuple[list[Answer], str]:
    """What a child says of `configs`, in their order, as far as it lives; and how it ended if it does not."""
    environment = os.environ | _ENVIRONMENT
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.run(  # noqa: S603 - this interpreter, and a module of this package
            [sys.executable, "-P", "-m", __package__, str(LIMIT_S)],
            input=json.dumps(configs).encode(), stdout=output, stderr=errors, env=environment, check=False,
        )  # fmt: skip
        output.seek(0)
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4096))
        return list(_answers(output.read())), _last_words(child.returncode, errors.read().decode(errors="replace"))


def _answers(output: bytes) -> Iterable[Answer]:
    for line in output.splitlines():
        try:
            yield Answer.model_validate_json(line)
        except ValidationError:  # cut off with the child
            return


def _last_words(code: int, errors: str) -> str:
    if code == -signal.SIGALRM:
        return f"it takes more than {LIMIT_S} s"
    if code < 0:
        return f"the process that builds it was ended by signal {-code}"
    return next((line for line in reversed(errors.splitlines()) if line.strip()), f"exit code {code}")


def _result(answer: Answer) -> Shape | ShapeError:
    return answer.shape or ShapeError(answer.reason)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES.split(", "):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _key(config: Config, versions: dict[str, str]) -> str:
    content = canonical_json({"version": VERSION, "config": config, "packages": versions})
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _file(key: str) -> Path:
    return files.cache_folder("shapes", f"{key}.json")


def _kept(key: str) -> Answer | None:
    try:
        return Answer.model_validate_json(_file(key).read_bytes())
    except (OSError, ValueError):  # none, or not whole: it is asked anew
        return None
