"""The frozen values that say what to measure.

Each field is declared once: its annotation gives the type, the bounds and the help of its command-line
flag, its name is the flag, the key in the record and the column in a table. Plain dataclasses, so that
`--help` needs no validation library; pydantic reads the same annotations when values are checked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Gt, Interval, MaxLen, MinLen

from speed_benchmark.errors import UserError

MAX_TOKENS = 10_000_000
# How many tokens of the start and of the end of the output a quick measurement takes, and how many of these pass
# until decoding runs evenly after a prefill (seen with transformers: caches are warm after about ten).
QUICK_WINDOW_TOKENS, QUICK_SETTLING_TOKENS = 48, 16
# In fewer repeats a trend can't be told from chance, so that a confidence interval would be a guess.
INTERVAL_REPEATS = 6
# What --precision may spend where nothing else is said.
MAX_REPEATS, MAX_SECONDS = 30, 600.0


@dataclass(frozen=True)
class Option:
    """How a field is offered on the command line.

    `engines` names the engines it applies to (None: all); for those `default` fills a value not given.
    """

    help: str
    engines: tuple[str, ...] | None = None
    default: object = None


Tokens = Annotated[int, Interval(ge=1, le=MAX_TOKENS)]
Text = Annotated[str, MinLen(1), MaxLen(4096)]


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which weights, and where they come from."""

    model_id_or_path: Annotated[Text, Option("id on the hub, or a local folder")]
    revision: Annotated[Text | None, Option("branch, tag or commit on the hub")] = None
    weights: Annotated[
        Literal["hub", "synthetic"],
        Option("the hub's weights, or made-up ones of the true shape (no hub needed)"),
    ] = "hub"
    use_modelscope: Annotated[bool, Option("ModelScope instead of Hugging Face")] = False
    trust_remote_code: Annotated[bool, Option("run code that comes with the model")] = False
    allow_pickle: Annotated[bool, Option("read pickled weights, which can run code, where there are no others")] = False


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What one request asks for; the batch size is 1."""

    context_length: Annotated[Tokens, Option("input tokens")]
    generate_length: Annotated[Tokens, Option("tokens to generate")] = 2048
    sampling: Annotated[
        Literal["model", "greedy"],
        Option("the model's own generation config, or greedy"),
    ] = "model"
    seed: Annotated[int, Ge(0), Option("seed of the sampling and of random prompts")] = 1024


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How the engine is set up. A field that does not apply to the engine is None and not part of the cell."""

    engine: Annotated[Text, Option("transformers, vllm, or an installed plugin")]
    gpu_count: Annotated[int, Ge(0)] = 0
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        Option("type of the activations and of unquantised weights; auto: as the checkpoint says"),
    ] = "auto"
    attn_implementation: Annotated[
        Literal["sdpa", "flash_attention_2", "eager"] | None,
        Option("attention of transformers", ("transformers",), "sdpa"),
    ] = None
    compile: Annotated[
        bool | None,
        Option("static cache and compiled decoding", ("transformers",), False),
    ] = None
    max_model_len: Annotated[
        Tokens | None,
        Option("longest prompt plus output", ("vllm",), 32768),
    ] = None
    gpu_memory_utilization: Annotated[
        Annotated[float, Interval(gt=0, le=1)] | None,
        Option("share of the GPU's memory that vLLM takes", ("vllm",), 0.9),
    ] = None
    enforce_eager: Annotated[
        bool | None,
        Option("no CUDA graphs, no compilation", ("vllm",), False),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the measurement is repeated."""

    repeats: Annotated[int, Interval(ge=1, le=10_000), Option("measured requests; with --precision the fewest")] = 3
    warmups: Annotated[int, Interval(ge=0, le=10_000), Option("unmeasured requests of the same shape before them")] = 1
    processes: Annotated[int, Interval(ge=1, le=1000), Option("worker processes, each with all the repeats")] = 1
    precision: Annotated[
        Annotated[float, Interval(gt=0, lt=1)] | None,
        Option("repeat until the speed is known to so much on either side, like 1%"),
    ] = None
    max_repeats: Annotated[
        Annotated[int, Interval(ge=1, le=10_000)] | None,
        Option("with --precision: the most requests  [default: 30]"),
    ] = None
    max_seconds: Annotated[
        Annotated[float, Gt(0)] | None,
        Option("with --precision: the longest time for them  [default: 600]"),
    ] = None
    quick: Annotated[bool, Option("measure the start and the end of the output, and predict the rest")] = False
    audit: Annotated[bool, Option("compare a repeated prompt with new ones: is something cached?")] = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One thing to measure."""

    model: Model
    workload: Workload
    settings: EngineSettings
    protocol: Protocol

    @property
    def total_tokens(self) -> int:
        """Prompt and output tokens together."""
        return self.workload.context_length + self.workload.generate_length

    @property
    def cell_id(self) -> str:
        """Identity of what is measured: `sha256:` and the hash of the cell's canonical JSON."""
        return digest(asdict(self))


def options(*groups: type) -> dict[str, tuple[Any, Option, Any]]:
    """Field name -> (type, option, default) of all fields of `groups` that are command-line flags."""
    found: dict[str, tuple[Any, Option, Any]] = {}
    for group in groups:
        hints = get_type_hints(group, include_extras=True)
        for field in fields(group):
            annotation = hints[field.name]
            for note in getattr(annotation, "__metadata__", ()):
                if isinstance(note, Option):
                    found[field.name] = (annotation, note, field.default)
    return found


def for_engine(engine: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for `engine`: `given` values, defaults where none is given.

    Raises UserError for a value given to an engine that it does not apply to.
    """
    settings: dict[str, Any] = {"engine": engine}
    for name, (_, option, default) in options(EngineSettings).items():
        value = given.get(name)
        applies = option.engines is None or engine in option.engines
        if value is not None and not applies:
            raise UserError(f"--{name}", value, f"applies to {', '.join(option.engines or ())} only; leave it out")
        if name != "engine" and applies:
            settings[name] = value if value is not None else option.default if option.engines else default
    return settings


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spare white space; None values of mappings are left out."""
    return json.dumps(_without_none(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """`sha256:` and the hash of the canonical JSON of `value`."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _without_none(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
