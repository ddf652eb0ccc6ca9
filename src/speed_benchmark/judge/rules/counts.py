"""Whether what was asked for is there: tokens, their times, repeats."""

from operator import le

from speed_benchmark.cell import QUICK_WINDOW_TOKENS, Cell
from speed_benchmark.judge.judgement import FindingValue, Severity
from speed_benchmark.judge.rules.rule import Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.sample import Sample


@rule("token_counts", Severity.INVALID, ("", "sequence", "batch_size"))
def token_counts(seen: Seen) -> Found:
    """The asked number of tokens went in and came out, and each had a time, in every sequence that was asked for."""
    cell = seen.record.cell
    batch_size = cell.workload.batch_size
    for repeat, sample in enumerate(seen.record.samples, 1):
        if len(sample.sequences) != batch_size:
            sequences = len(sample.sequences)
            yield {"variant": "batch_size", "repeat": repeat, "sequences": sequences, "asked_sequences": batch_size}
        prompt, output = _asked_tokens(cell, sample)
        for number, one in enumerate(sample.sequences, 1):
            if (one.prompt_tokens, one.output_tokens, len(one.token_times_s)) != (prompt, output, output):
                which: dict[str, FindingValue] = {"variant": "sequence", "sequence": number} if batch_size > 1 else {}
                yield which | {
                    "repeat": repeat,
                    "prompt_tokens": one.prompt_tokens,
                    "output_tokens": one.output_tokens,
                    "timed_tokens": len(one.token_times_s),
                    "asked_prompt_tokens": prompt,
                    "asked_output_tokens": output,
                }


@rule("token_times", Severity.INVALID)
def token_times(seen: Seen) -> Found:
    """Times rise, begin after the request did and end before it ended."""
    for repeat, sample in enumerate(seen.record.samples, 1):
        if sample.duration_s <= 0 or not all(_in_order(sample, one.token_times_s) for one in sample.sequences):
            yield {"repeat": repeat}


@rule("missing_repeats", Severity.INVALID)
def missing_repeats(seen: Seen) -> Found:
    """All repeats that were asked for are there, in every process."""
    if seen.record.outcome is not Outcome.OK:
        return
    protocol, windows = seen.record.cell.protocol, 2 if seen.record.cell.protocol.quick else 1
    most = protocol.max_repeats or protocol.repeats
    for process in range(protocol.processes):
        there = sum(sample.process == process for sample in seen.record.samples) / windows
        if not protocol.repeats <= there <= most:
            yield {"process": process + 1, "repeats": there, "asked_repeats": protocol.repeats}


def _in_order(sample: Sample, times_s: tuple[float, ...]) -> bool:
    return all(map(le, (0.0, *times_s), (*times_s, sample.duration_s)))


def _asked_tokens(cell: Cell, sample: Sample) -> tuple[int, int]:
    """How many tokens each sequence of a request of `cell` was to take in and to give out."""
    context, generate = cell.workload.context_length, cell.workload.generate_length
    match sample.window:
        case "start":
            return context, QUICK_WINDOW_TOKENS
        case "end":
            return context + generate - QUICK_WINDOW_TOKENS, QUICK_WINDOW_TOKENS
        case None:
            return context, generate
