"""Whether the engine computed what was asked: the weights, every token of the prompt, numbers, the right answer."""

import statistics

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.rules.rule import Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.record import formats
from speed_benchmark.record.engine import Loaded

# How much faster a repeated prompt may be than one never sent before.
CACHED = 0.1


@rule("weight_format", Severity.INVALID)
def weight_format(seen: Seen) -> Found:
    """The loaded layers hold the format that the checkpoint promises, or another plain type that was asked for.

    A format that is not known by name can't be told from another by what the layers show.
    """
    checkpoint, loaded = seen.record.checkpoint, seen.record.loaded
    if not (checkpoint and checkpoint.quantization and loaded) or loaded.quantization == checkpoint.quantization:
        return
    promised = formats.named(checkpoint.quantization)
    asked = seen.record.cell.settings.dtype != "auto" and promised.is_plain
    may_be_plain = asked or _is_unpacked(promised.name, loaded)
    if promised.bits and not (may_be_plain and formats.named(loaded.quantization).is_plain):
        yield {"promised": promised.name, "loaded": loaded.quantization}


@rule("unpacked_weights", Severity.DOUBTFUL)
def unpacked_weights(seen: Seen) -> Found:
    """The engine computes with quantised weights as they are stored: unpacked, they are read at their full size."""
    checkpoint, loaded = seen.record.checkpoint, seen.record.loaded
    if checkpoint and checkpoint.quantization and loaded and _is_unpacked(checkpoint.quantization, loaded):
        yield {"promised": checkpoint.quantization, "loaded": loaded.quantization}


def _is_unpacked(promised: str, loaded: Loaded) -> bool:
    """Whether layers hold plain weights of a quantised checkpoint, and the engine says that something else runs."""
    held = formats.named(loaded.quantization)
    return bool(loaded.reasons) and held.is_plain and not formats.named(promised).is_plain


@rule("prefix_caching", Severity.INVALID)
def prefix_caching(seen: Seen) -> Found:
    """The engine does not reuse prompts."""
    if seen.record.loaded and seen.record.loaded.prefix_caching:
        yield {}


@rule("cached_prompt", Severity.INVALID)
def cached_prompt(seen: Seen) -> Found:
    """No token of a prompt came from a cache."""
    for repeat, sample in enumerate(seen.record.samples, 1):
        if sample.cached_tokens:
            yield {"repeat": repeat, "tokens": sample.cached_tokens}


@rule("faster_when_repeated", Severity.INVALID)
def faster_when_repeated(seen: Seen) -> Found:
    """A prompt sent before is not read faster than one of the same length that is new."""
    audit = seen.record.audit
    if audit is None:
        return
    repeated_s, distinct_s = statistics.median(audit.repeated_s), statistics.median(audit.distinct_s)
    if repeated_s < (1 - CACHED) * distinct_s and max(audit.repeated_s) < min(audit.distinct_s):
        yield {"repeated_s": repeated_s, "distinct_s": distinct_s, "share": 1 - repeated_s / distinct_s}


@rule("not_finite", Severity.INVALID)
def not_finite(seen: Seen) -> Found:
    """The model computes numbers: overflow takes other paths through the sampler and proves nothing."""
    if seen.record.loaded and seen.record.loaded.finite_logits is False:
        yield {}


@rule("other_answer", Severity.DOUBTFUL)
def other_answer(seen: Seen) -> Found:
    """Another engine's answer begins with the same token."""
    agreement = seen.record.agreement
    if agreement and agreement.compared and not agreement.agreed:
        yield {"engine": agreement.engine}
