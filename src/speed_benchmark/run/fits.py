"""Whether a model fits on a device, on how many of them, in which of its formats and about how fast, by data alone.

The need of memory and the forecast are those of `plan`, for one sequence of the context on each engine.
"""

from dataclasses import dataclass, replace

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.engines import registry
from speed_benchmark.errors import UserError
from speed_benchmark.machine.device import Device
from speed_benchmark.models import checkpoint, published, rope, source
from speed_benchmark.models.config import Config
from speed_benchmark.models.shape import Shape
from speed_benchmark.models.shapes.asked import shapes
from speed_benchmark.record import formats
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.run import estimate, forecast
from speed_benchmark.run.estimate import MemoryEstimate
from speed_benchmark.run.forecast import Belief, Range
from speed_benchmark.run.options import offered
from speed_benchmark.run.plan import check_length
from speed_benchmark.run.suite import DEPTH_TOKENS

CONTEXT_TOKENS = 8192
"""Input tokens where nothing is said, or as many as the model takes."""

MOST_GPUS = 64


@dataclass(frozen=True)
class Offer:
    """A model in one format on one engine: what it needs, and on how many GPUs it fits.

    `gpus` is 0 for the CPU, None where it fits on no number of them. Times are those of one sequence, None where the
    bandwidth of the device is not known.
    """

    model_id: str
    format: str
    engine: str
    need: MemoryEstimate
    gpus: int | None
    first_token_s: Range | None = None
    decode_tokens_per_s: Range | None = None


@dataclass(frozen=True)
class Answer:
    """The shape of the model that was asked for, the context, and an offer for each format and engine."""

    shape: Shape
    context_tokens: int
    offers: tuple[Offer, ...]


def fits(model: str, on: Device, context_tokens: int | None = None, peaks: DevicePeaks | None = None) -> Answer:
    """Hold `model`, and the formats in which it is published too, against devices like `on`, which has these `peaks`.

    Raises UserError for a model whose shape is not known, and for a context that it does not take.
    """
    configs = _configs(model)
    found = dict(zip(configs, shapes(list(configs.values())), strict=True))
    shape = found[model]
    if not isinstance(shape, Shape) or shape.forward is None:
        raise UserError("MODEL", model, shape.note if isinstance(shape, Shape) else str(shape))
    context = context_tokens or max(1, min(CONTEXT_TOKENS, rope.longest(configs[model]) - DEPTH_TOKENS))
    offers = [
        _offer(_cell(name, engine, context), configs[name], one, on, peaks)
        for name, one in found.items()
        if isinstance(one, Shape) and one.forward
        for engine in offered()
    ]
    return Answer(shape, context, tuple(offers))


def _configs(model: str) -> dict[str, Config]:
    """The config.json of a model, then those of the formats in which it is published too, in the order of tables."""
    config, _ = source.shape(model)
    known = published.lookup(model)
    if known is None or known.config != config:  # a folder, maybe of such a name
        return {model: config}
    others = [
        one
        for one in published.published().values()
        if one is not known and formats.base_name(one.model_id) == known.model_id
    ]
    others.sort(key=lambda one: formats.order(checkpoint.quantization_of(one.config)))
    return {model: config} | {one.model_id: one.config for one in others}


def _cell(model: str, engine: str, context_tokens: int) -> Cell:
    """One sequence of the context, for which the engine makes room and for no more."""
    option = offered()[engine].traits.length_option
    return Cell(
        model=Model(model_id_or_path=model),
        workload=Workload(context_length=context_tokens, generate_length=DEPTH_TOKENS),
        settings=EngineSettings(engine=engine, options={option: context_tokens + DEPTH_TOKENS} if option else {}),
        protocol=Protocol(),
    )


def _offer(cell: Cell, config: Config, shape: Shape, on: Device, peaks: DevicePeaks | None) -> Offer:
    """What one engine makes of one format, on the fewest devices on which it fits."""
    check_length(cell, config)
    counts = range(1, MOST_GPUS + 1) if on.gpus else (0,)
    usable = (gpus for gpus in counts if not gpus or estimate.can_split(cell.settings, shape.attention_heads, gpus))
    gpus = next((gpus for gpus in usable if estimate.fits(cell, shape, replace(on, gpus=gpus))), None)
    there = replace(on, gpus=on.gpus and (gpus or 1))
    offer = Offer(
        model_id=cell.model.model_id_or_path,
        format=checkpoint.quantization_of(config),
        engine=registry.title(cell.settings.engine),
        need=estimate.memory(cell, shape, there),
        gpus=gpus,
    )
    if gpus is None or not on.bytes_per_s:
        return offer
    settings = replace(cell.settings, gpu_count=gpus)
    prefill, decode = _forecast(replace(cell, settings=settings), shape, there, peaks)
    steps = cell.workload.generate_length - 1
    speed = Range(steps / decode.high, steps / decode.middle, steps / decode.low)
    return replace(offer, first_token_s=prefill, decode_tokens_per_s=speed)


def _forecast(cell: Cell, shape: Shape, on: Device, peaks: DevicePeaks | None) -> tuple[Range, Range]:
    """Seconds of the prefill, and of the decoding after it."""
    priors = forecast.shipped()
    terms = forecast.of_request(cell, shape, on, peaks, priors)
    belief = Belief.of(terms, priors.spreads)
    prefill, decode = (belief.range_of(belief.sum_of([term])) for term in terms)
    return prefill, decode
