"""Whether the engine computed what was asked: the weights, every token of the prompt, numbers, the right answer."""

import statistics

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.rules.rule import Found, rule
from speed_benchmark.judge.seen import Seen

# Types of weights that are not quantised.
PLAIN = {"BF16", "FP16", "FP32"}
# How much faster a repeated prompt may be than one never sent before.
CACHED = 0.1


@rule("weight_format", Severity.INVALID)
def weight_format(seen: Seen) -> Found:
    """The loaded layers hold the format that the checkpoint promises, or another plain type that was asked for."""
    checkpoint, loaded = seen.record.checkpoint, seen.record.loaded
    if not (checkpoint and checkpoint.quantization and loaded) or loaded.quantization == checkpoint.quantization:
        return
    asked = seen.record.cell.settings.dtype != "auto"
    if not (asked and {checkpoint.quantization, loaded.quantization} <= PLAIN):
        yield {"promised": checkpoint.quantization, "loaded": loaded.quantization}


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
