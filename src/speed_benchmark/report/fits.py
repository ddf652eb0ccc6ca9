"""The verb `fits`: whether a model fits, on how many GPUs, in which format and about how fast; nothing is measured."""

from typing import Annotated

from speed_benchmark.machine import cards, peaks
from speed_benchmark.machine.device import Device, device
from speed_benchmark.models.shape import Shape
from speed_benchmark.record.base import Frozen
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.report.columns import Column, Place, columns
from speed_benchmark.report.documents import Document
from speed_benchmark.report.formats import put, render
from speed_benchmark.report.layout import fill, table
from speed_benchmark.report.tables import print_document
from speed_benchmark.report.words import Language, TextFormat, Words, words
from speed_benchmark.run.fits import Answer, Offer, fits
from speed_benchmark.run.plan import parse_gpus
from speed_benchmark.run.suite import DEPTH_TOKENS

_SHOWN: tuple[Place, ...] = ("report",)


class OfferRow(Frozen):
    """A model in one format on one engine."""

    model: str
    quantization: Annotated[str, Column(where=_SHOWN)]
    engine: Annotated[str, Column(where=_SHOWN)]
    weight_bytes: Annotated[int, Column(label="weights", unit="GiB", digits=2, where=_SHOWN)]
    kv_cache_bytes: Annotated[int, Column(label="fits.cache", unit="GiB", digits=2, where=_SHOWN)]
    needed_bytes: Annotated[int, Column(label="fits.needed", unit="GiB", digits=2, where=_SHOWN)]
    fits_on: Annotated[str, Column(label="fits.on", numeric=True, where=_SHOWN)]
    gpu_count: int | None
    time_to_first_token_s: Annotated[
        float | None, Column(unit="s", digits=2, where=_SHOWN, to="time_to_first_token_s_high")
    ]
    time_to_first_token_s_high: float | None
    decode_tokens_per_s: Annotated[
        float | None, Column(unit="tokens/s", digits=1, where=_SHOWN, to="decode_tokens_per_s_high")
    ]
    decode_tokens_per_s_high: float | None


def show_fits(model: str, gpu: str | None, context_tokens: int | None, form: TextFormat, language: Language) -> int:
    """Print what `model` needs of cards called `gpu`, or of this machine where none is named."""
    on, known = (cards.named(gpu), None) if gpu is not None else _here()
    document = _document(model, fits(model, on, context_tokens, known), on, known, language)
    if form == "text":
        print_document(document)
    else:
        put(render(document, form).encode(), None)
    return 0


def _here() -> tuple[Device, DevicePeaks | None]:
    """This machine, and its peaks where they were measured."""
    gpus = parse_gpus(None)
    return device(gpus), peaks.known(gpus)


def _document(model: str, answer: Answer, on: Device, known: DevicePeaks | None, language: Language) -> Document:
    said = words(language)
    data = [_row(offer, said) for offer in answer.offers]
    filled = fill([column for column in columns(OfferRow) if column.where], [row.model_dump() for row in data], said)
    notes = (said["fits.needed_is"], _speed_is(on, known, said), *_less_sure(answer, said), *_also(answer, said))
    laid = table(filled, [""] * len(data), "quantization", title="", conditions="", notes=notes, spanned=1)
    sequence = said["fits.sequence"].format(context=answer.context_tokens, generated=DEPTH_TOKENS)
    intro = (_card(on, said), sequence)
    return Document(language, "qwen2.5", _title(model, answer.shape, said), intro, (laid,), data)


def _row(offer: Offer, said: Words) -> OfferRow:
    need, first, speed = offer.need, offer.first_token_s, offer.decode_tokens_per_s
    return OfferRow(
        model=offer.model_id,
        quantization=offer.format,
        engine=offer.engine,
        weight_bytes=need.weight_bytes,
        kv_cache_bytes=need.kv_cache_bytes,
        needed_bytes=need.total_bytes,
        fits_on=said["none"] if offer.gpus is None else str(offer.gpus or said["cpu"]),
        gpu_count=offer.gpus,
        time_to_first_token_s=first and first.low,
        time_to_first_token_s_high=first and first.high,
        decode_tokens_per_s=speed and speed.low,
        decode_tokens_per_s_high=speed and speed.high,
    )


def _title(model: str, shape: Shape, said: Words) -> str:
    """The model and its parameters: all, and of a mixture of experts those that a token uses."""
    all_of_them, active = (f"{count / 1e9:.3g}" for count in (shape.parameters(), shape.active_parameters()))
    name = "fits.experts" if shape.experts else "fits.model"
    return said[name].format(model=model, parameters=all_of_them, active=active)


def _less_sure(answer: Answer, said: Words) -> tuple[str, ...]:
    """That no records show what a mixture of experts, or GPUs together, take beside the roofline."""
    timed = [offer for offer in answer.offers if offer.decode_tokens_per_s]
    several = any(offer.gpus and offer.gpus > 1 for offer in timed)
    return (said["fits.less_sure"],) if several or (timed and answer.shape.experts) else ()


def _also(answer: Answer, said: Words) -> tuple[str, ...]:
    """The ids of the formats in which the model is published too."""
    _, *others = dict.fromkeys(offer.model_id for offer in answer.offers)
    return (said["fits.also"].format(models=said["comma"].join(others)),) if others else ()


def _card(on: Device, said: Words) -> str:
    memory = f"{on.memory_bytes / 2**30:.1f}"
    if not on.gpus:
        return said["fits.processor"].format(memory=memory)
    if not on.bytes_per_s:
        return said["fits.memory"].format(memory=memory)
    return said["fits.card"].format(name=on.name, memory=memory, bandwidth=f"{on.bytes_per_s / 1e9:,.0f}")


def _speed_is(on: Device, known: DevicePeaks | None, said: Words) -> str:
    """What the times are computed from, or why there are none."""
    if not on.bytes_per_s:
        return said["fits.no_speed"]
    basis = "fits.peaks" if known else "fits.sheet" if on.gpus else "fits.guess"
    return said["fits.speed_is"].format(basis=said[basis])
