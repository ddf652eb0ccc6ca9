"""The frozen values that say what to measure.

Each field is declared once: its annotation gives the type, the bounds and the help of its command-line
flag, its name is the flag, the key in the record and the column in a table. Plain dataclasses, so that
`--help` needs no validation library; pydantic reads the same annotations when values are checked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Interval, MaxLen, MinLen

MAX_TOKENS = 10_000_000
MAX_BATCH_SIZE = 4096
# How many tokens of the start and of the end of the output a quick measurement takes, and how many of these pass
# until decoding runs evenly after a prefill (transformers' caches are warm after about ten; on an H200 whose clock has
# dipped in a long prefill the gaps shrink for 24 to 32).
QUICK_WINDOW_TOKENS, QUICK_SETTLING_TOKENS = 48, 24
# From how many repeats on a confidence interval is printed, and from how many it is tested that they are independent:
# in fewer a trend can't be told from chance.
INTERVAL_REPEATS, DEPENDENCE_REPEATS = 3, 6
# What --precision may spend where nothing else is said.
MAX_REPEATS, MAX_SECONDS = 30, 600.0
# How often a cell is repeated where nothing is said of it: until the speed is known to 2 %, within a budget.
DEFAULT_PRECISION, DEFAULT_MAX_REPEATS, DEFAULT_MAX_SECONDS = 0.02, 6, 60.0

OptionValue = bool | int | float | str


@dataclass(frozen=True)
class Described:
    """What a field holds: its description in the JSON Schema of a record."""

    help: str

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's
        """The schema that pydantic makes, with the description."""
        return {**handler(core_schema), "description": self.help}


@dataclass(frozen=True)
class Option(Described):
    """How a field is offered on the command line, and how it counts in the identity of a cell.

    A field at its `implied` value is no part of the identity. Whoever adds a field gives it what measurements made
    before it meant by its absence: their cells then keep their ids, and reading them fills it in.
    """

    implied: OptionValue | None = None


Tokens = Annotated[int, Interval(ge=1, le=MAX_TOKENS)]
Text = Annotated[str, MinLen(1), MaxLen(4096)]
_BoundOptionValue = (
    bool
    | Annotated[int, Interval(ge=-(2**63), lt=2**63)]
    | Annotated[float, Interval(ge=-1e18, le=1e18)]
    | Annotated[str, MaxLen(4096)]
)


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
    """What one request asks for: `batch_size` sequences at once, each of so many tokens in and out."""

    context_length: Annotated[Tokens, Option("input tokens of each sequence")]
    generate_length: Annotated[Tokens, Option("tokens to generate in each sequence")] = 2048
    batch_size: Annotated[
        Annotated[int, Interval(ge=1, le=MAX_BATCH_SIZE)], Option("sequences generated at once", implied=1)
    ] = 1
    sampling: Annotated[
        Literal["model", "greedy"],
        Option("the model's own generation config, or greedy"),
    ] = "model"
    seed: Annotated[Annotated[int, Interval(ge=0, lt=2**63)], Option("seed of the sampling and of random prompts")] = (
        1024
    )


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How the engine is set up: what every engine has, and in `options` what this one has beside it.

    The options are the fields of the engine's own settings class, less those at their implied value.
    """

    engine: Annotated[Text, Option("what generates the tokens")]
    gpu_count: Annotated[
        Annotated[int, Interval(ge=0, le=10_000)], Described("GPUs that the model is on; 0: the CPU")
    ] = 0
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        Option("type of the activations and of unquantised weights; auto: as the checkpoint says"),
    ] = "auto"
    options: Annotated[
        Mapping[Text, _BoundOptionValue], Described("options of this engine that are not as implied")
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the measurement is repeated."""

    repeats: Annotated[
        Annotated[int, Interval(ge=1, le=10_000)], Option("measured requests; with --precision the fewest")
    ] = 3
    warmups: Annotated[
        Annotated[int, Interval(ge=0, le=10_000)], Option("unmeasured requests of the same shape before them")
    ] = 1
    processes: Annotated[
        Annotated[int, Interval(ge=1, le=1000)], Option("worker processes, each with all the repeats")
    ] = 1
    precision: Annotated[
        Annotated[float, Interval(gt=0, lt=1)] | None,
        Option("repeat until the speed is known to so much on either side, like 1%"),
    ] = None
    max_repeats: Annotated[
        Annotated[int, Interval(ge=1, le=10_000)] | None,
        Option("with --precision: the most requests  [default: 30]"),
    ] = None
    max_seconds: Annotated[
        Annotated[float, Interval(gt=0, le=1e9)] | None,
        Option("with --precision: the longest time for them  [default: 600]"),
    ] = None
    quick: Annotated[bool, Option("measure the start and the end of the output, and predict the rest")] = False
    audit: Annotated[bool, Option("compare a repeated prompt with new ones: is something cached?")] = False

    @property
    def is_default(self) -> bool:
        """Whether nobody said how often to repeat: a precision that is asked for is never tried with fewer repeats."""
        return self.precision is not None and self.repeats < DEPENDENCE_REPEATS


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One thing to measure."""

    model: Annotated[Model, Described("the weights")]
    workload: Annotated[Workload, Described("what one request asks for")]
    settings: Annotated[EngineSettings, Described("how the engine is set up")]
    protocol: Annotated[Protocol, Described("how the measurement is repeated")]

    @property
    def total_tokens(self) -> int:
        """Prompt and output tokens of one sequence together."""
        return self.workload.context_length + self.workload.generate_length

    @property
    def token_times(self) -> int:
        """How many times of tokens its record holds at most."""
        protocol, workload = self.protocol, self.workload
        tokens = 2 * QUICK_WINDOW_TOKENS if protocol.quick else workload.generate_length
        requests = protocol.processes * (protocol.warmups + (protocol.max_repeats or protocol.repeats))
        return requests * workload.batch_size * tokens

    @property
    def cell_id(self) -> str:
        """Identity of what is measured: `sha256:` and the hash of the canonical JSON of what counts in it."""
        settings = _counting(self.settings)
        return digest(
            {
                "model": _counting(self.model),
                "workload": _counting(self.workload),
                "settings": {**settings.pop("options"), **settings},
                "protocol": _counting(self.protocol),
            }
        )


def options(*groups: type) -> dict[str, tuple[Any, Option, Any]]:
    """Field name -> (type, option, default) of all fields of `groups` that are command-line flags."""
    return {name: found for group in groups for name, found in _options(group).items()}


@cache
def _options(group: type) -> dict[str, tuple[Any, Option, Any]]:
    hints = get_type_hints(group, include_extras=True)
    return {
        one.name: (hints[one.name], note, one.default)
        for one in fields(group)
        for note in getattr(hints[one.name], "__metadata__", ())
        if isinstance(note, Option)
    }


def _counting(group: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses
    """The fields of `group` that are not at their implied value."""
    implied = {name: option.implied for name, (_, option, _) in _options(group.__class__).items()}
    values = {one.name: getattr(group, one.name) for one in fields(group)}
    return {name: value for name, value in values.items() if value is None or value != implied.get(name)}


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
