"""Statistics of a record, each recomputed from its samples."""

import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from speed_benchmark.results.record import Memory, Quantity, Sample, Summary

# How many values a percentile needs: the least query counts of MLPerf LoadGen's early stopping.
PERCENTILE_SAMPLES = {50: 1, 90: 64, 99: 662}


def generation_tokens_per_s(sample: Sample) -> float:
    """Generated tokens over the whole request time: the speed of the Qwen2.5 report."""
    return sample.output_tokens / sample.duration_s


def total_tokens_per_s(sample: Sample) -> float:
    """Prompt and generated tokens over the whole request time: the speed of the Qwen3 report."""
    return (sample.prompt_tokens + sample.output_tokens) / sample.duration_s


def decode_tokens_per_s(sample: Sample) -> float | None:
    """Tokens after the first over the time from the first to the last; None for a single token."""
    times = sample.token_times_s
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None


def time_to_first_token_s(sample: Sample) -> float:
    """From the start of the request to its first token on the host."""
    return sample.token_times_s[0]


def prefill_tokens_per_s(sample: Sample) -> float:
    """Prompt tokens over the time to the first token."""
    return sample.prompt_tokens / time_to_first_token_s(sample)


def summarize(samples: Sequence[Sample]) -> Summary | None:
    """The summary of `samples`; None where there is none, or one without a token or a time."""
    if not samples or any(not _timed(sample) for sample in samples):
        return None
    gaps_s = np.concatenate([np.diff(sample.token_times_s) for sample in samples])

    def quantity(measure: Callable[[Sample], float]) -> Quantity:
        return _quantity([measure(sample) for sample in samples])

    decode = [speed for sample in samples if (speed := decode_tokens_per_s(sample)) is not None]
    return Summary(
        generation_tokens_per_s=quantity(generation_tokens_per_s),
        total_tokens_per_s=quantity(total_tokens_per_s),
        decode_tokens_per_s=_quantity(decode) if len(decode) == len(samples) else None,
        prefill_tokens_per_s=quantity(prefill_tokens_per_s),
        time_to_first_token_s=quantity(time_to_first_token_s),
        duration_s=quantity(lambda sample: sample.duration_s),
        inter_token_latency_p50_s=_percentile(gaps_s, 50),
        inter_token_latency_p90_s=_percentile(gaps_s, 90),
        inter_token_latency_p99_s=_percentile(gaps_s, 99),
        memory=peak_memory([sample.memory for sample in samples]),
    )


def peak_memory(readings: Sequence[Memory]) -> Memory:
    """The highest reading under each name; None where no reading has it."""
    values: dict[str, int] = {}
    for reading in readings:
        for name, value in reading.model_dump(exclude_none=True).items():
            values[name] = max(value, values.get(name, value))
    return Memory(**values)


def _timed(sample: Sample) -> bool:
    return sample.duration_s > 0 and len(sample.token_times_s) > 0 and sample.token_times_s[0] > 0


def _quantity(values: Sequence[float]) -> Quantity:
    return Quantity(
        mean=statistics.fmean(values),
        stdev=statistics.stdev(values) if len(values) > 1 else None,
        minimum=min(values),
        maximum=max(values),
    )


def _percentile(gaps_s: NDArray[np.float64], percent: int) -> float | None:
    if len(gaps_s) < PERCENTILE_SAMPLES[percent]:
        return None
    return float(np.percentile(gaps_s, percent))
