"""What an engine says of itself before anything heavy is imported: its options, and the facts that others must know."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from speed_benchmark.cell import EngineSettings, options

if TYPE_CHECKING:
    from speed_benchmark.engines.protocol import Engine
    from speed_benchmark.judge.judgement import Judged, Summary
    from speed_benchmark.machine.device import Device
    from speed_benchmark.record.record import Record


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Facts about an engine.

    `requires` are modules that must be importable; `packages` the distributions whose versions decide its speed, the
    most important first. `split` says how it uses several GPUs: "tensor" splits each layer over all of them, so that
    their number must divide the attention heads; "layers" gives each its own layers, which take turns.
    `preallocates` says that it takes its memory in advance, however little a cell needs. `environment` are prefixes of
    variables that steer it. `length_option` and `memory_share_option` name the options, if any, that limit prompt plus
    output and the share of the GPU's memory that it takes. `simulated` says that no figure of it is real.
    """

    title: str
    requires: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    split: Literal["tensor", "layers"] = "layers"
    preallocates: bool = False
    environment: tuple[str, ...] = ()
    length_option: str | None = None
    memory_share_option: str | None = None
    simulated: bool = False


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """What an engine takes beyond the roofline, as `plan` estimates it: constants of the model of a step.

    A step takes the device `kernel_s` for each layer beside its bytes and operations, of whose measured peaks it
    reaches `bandwidth_share` and `matrix_share`, and the host `layer_s` for each layer and `step_s` beside; with
    `launches_ahead` the host runs ahead of the device, so that the slower of the two sets the pace and not their sum.
    A prefill takes the host `prefill_s` more; `score_bytes` go through memory for each pair of tokens and each head,
    where attention keeps its scores there. `start_s` is taken to start the engine, weights aside. The first request of
    a process takes `first_request_s` more than the later ones, and `first_token_s` more for each of its tokens.
    """

    start_s: float = 1.0
    layer_s: float = 0.0
    step_s: float = 0.0
    launches_ahead: bool = False
    kernel_s: float = 0.0
    bandwidth_share: float = 0.9
    matrix_share: float = 0.7
    prefill_s: float = 0.0
    score_bytes: float = 0.0
    first_request_s: float = 0.0
    first_token_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of one engine: each `Annotated[..., Option]` field is a flag, a key of suites, part of the cell and a
    column of reports. The base of every engine's own; an entry point of `speed_benchmark.engines` names the subclass.
    """  # noqa: D205 - one sentence

    traits: ClassVar[Traits]

    @classmethod
    def engine(cls) -> "Engine":
        """The engine itself; what is heavy is imported here, in the worker."""
        raise NotImplementedError

    def building(self, gpu: int) -> Callable[[], None] | None:
        """What compiles the kernels that a first load on a GPU would compile in its middle; None where none are."""
        del gpu
        return None

    @classmethod
    def of(cls, settings: EngineSettings) -> Self:
        """The options of `settings`; what it leaves out is at its implied value. Unknown ones are refused."""
        implied = {name: option.implied for name, (_, option, _) in options(cls).items() if option.implied is not None}
        return cls(**{**implied, **settings.options})

    def stored(self) -> dict[str, Any]:
        """The options as a cell keeps them: those that are given and not at their implied value."""
        found = options(type(self))
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name in found}
        return {name: value for name, value in values.items() if value is not None and value != found[name][1].implied}

    def kept_tokens(self, total_tokens: int, sequences: int = 1) -> int:
        """For how many tokens it makes room in its key-value cache: of so many sequences of `total_tokens` together."""
        return sequences * total_tokens

    def cache_value_bytes(self, value_bytes: int) -> int:
        """What it keeps for each value of a key-value cache, of activations of so many bytes."""
        return value_bytes

    def prefill_tokens(self, context_tokens: int, device: "Device") -> int:
        """How many prompt tokens, of all sequences, it runs through the model at once."""
        del device
        return context_tokens

    def overhead(self, device: "Device", *, quantized: bool) -> Overhead:
        """What it takes beyond the roofline on `device`: a guess, which records correct; what is 0 stays so."""
        del device, quantized
        return Overhead()

    def kinds(self, device: "Device", *, quantized: bool) -> tuple[str, ...]:
        """Names under which `priors.toml` has the overhead of how it runs there: its own first, then like ones."""
        del device, quantized
        return ()

    def original_row(self, judged: "Judged") -> dict[str, object]:
        """The row that the engine's script of the Qwen2.5 report wrote, and the verdict; empty without such a script.

        Of a measurement that ended, or was interrupted; empty where there is no speed.
        """
        from speed_benchmark.record.outcome import Outcome

        record, summary = judged.record, judged.judgement.summary
        if summary is None or record.outcome not in (Outcome.OK, Outcome.INTERRUPTED):
            return {}
        columns = self.original_columns(record, summary)
        return {**columns, "verdict": str(judged.judgement.verdict)} if columns else {}

    def original_columns(self, record: "Record", summary: "Summary") -> dict[str, object]:
        """Column -> value as that script wrote them."""
        del record, summary
        return {}
