"""Statistics of a record, each recomputed from its samples.

The functions on `Values` work along the last axis, so that the simulation which shows their coverage runs the very
code that judges one record.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtr, stdtrit

from speed_benchmark.cell import DEPENDENCE_REPEATS, INTERVAL_REPEATS, Cell
from speed_benchmark.judge.judgement import Interval, Quantity, Summary
from speed_benchmark.judge.quick import predict, widened
from speed_benchmark.record.sample import Memory, Sample

Values = NDArray[np.float64]
Measure = Callable[[Sample], float]

# How many values a percentile needs: the least query counts of MLPerf LoadGen's early stopping.
PERCENTILE_SAMPLES = {50: 1, 90: 64, 99: 662}
# Fresh processes don't depend on each other; two would give an interval 13 standard errors to each side.
INTERVAL_PROCESSES = 3
# No interval where independent repeats would show such a trend or autocorrelation more rarely than this.
INDEPENDENCE_LEVEL = 0.05
CONFIDENCE = 0.95
# Stopping as soon as the interval is narrow favours samples that look steadier than they are. Simulated for normal and
# lognormal speeds, 96.8 % at the time of stopping are 94 to 97 % in the end where it may be after 3 to 6 or after 6 to
# 30 repeats, and 93 to 97 % after 3 to 30.
SEQUENTIAL_CONFIDENCE = 0.968
# A prompt shorter than this is read in one step that costs the same for one token: 1 / TTFT, which says nothing.
PREFILL_TOKENS = 64
# No estimate of how many repeats are needed goes beyond this.
MOST_NEEDED = 10_000
# Tokens of predicted requests: these take 1 GB.
MOST_PREDICTED = 2**25
# Relative differences below this are rounding.
RESOLUTION = 1e-6


def generation_tokens_per_s(sample: Sample) -> float:
    """Generated tokens of all sequences over the whole request time: the speed of the Qwen2.5 report."""
    return sample.output_tokens / sample.duration_s


def total_tokens_per_s(sample: Sample) -> float:
    """Prompt and generated tokens of all sequences over the whole request time: the speed of the Qwen3 report."""
    return (sample.prompt_tokens + sample.output_tokens) / sample.duration_s


def decode_tokens_per_s(sample: Sample) -> float:
    """Tokens after every sequence had its first, over the time from then to the last; the sample must have such."""
    return sum(decoded_tokens(sample)) / (sample.last_token_s - sample.all_started_s)


def decoded_tokens(sample: Sample) -> list[int]:
    """Of each sequence of a timed sample, how many tokens after its first came after every sequence had its first."""
    return [_decoded(sequence.token_times_s, sample.all_started_s) for sequence in sample.sequences]


def decodes(sample: Sample) -> bool:
    """Whether a sample is timed, and tokens came in a time after every sequence had its first."""
    return sample.is_timed and sample.last_token_s > sample.all_started_s


def prefill_tokens_per_s(sample: Sample) -> float:
    """Prompt tokens of all sequences over the time until every sequence had its first token."""
    return sample.prompt_tokens / sample.all_started_s


def sequence_generation_tokens_per_s(sample: Sample) -> float:
    """Generated tokens of one sequence over the whole request time, mean of the sequences."""
    return sample.output_tokens / len(sample.sequences) / sample.duration_s


def sequence_decode_tokens_per_s(sample: Sample) -> float:
    """Tokens after the first over the time from the first to the last, mean of the sequences; each must have two."""
    return statistics.fmean(
        (len(times_s) - 1) / (times_s[-1] - times_s[0])
        for times_s in (sequence.token_times_s for sequence in sample.sequences)
    )


def time_to_first_token_s(sample: Sample) -> float:
    """From the start of the request to the first token of the first sequence on the host."""
    return sample.first_token_s


def time_to_last_first_token_s(sample: Sample) -> float:
    """From the start of the request until every sequence had its first token."""
    return sample.all_started_s


def inter_token_latencies_s(sample: Sample) -> dict[int, float]:
    """Percent -> percentile of the gaps between tokens of a sequence, of all sequences; those that have gaps enough."""
    gaps_s = np.concatenate([np.diff(sequence.token_times_s) for sequence in sample.sequences])
    known = [percent for percent, least in PERCENTILE_SAMPLES.items() if len(gaps_s) >= least]
    return dict(zip(known, np.percentile(gaps_s, known).tolist(), strict=True)) if known else {}


def summarize(samples: Sequence[Sample], cell: Cell) -> Summary | None:
    """The summary of a cell's `samples`; None where there is none, or one without a token or a time."""
    if not samples or not all(sample.is_timed for sample in samples):
        return None
    requests = whole_requests(samples, cell)
    if not requests:
        return None
    latencies = [inter_token_latencies_s(request) for request in requests]
    sequential = cell.protocol.precision is not None

    def quantity(measure: Measure) -> Quantity:
        return _quantity(requests, [measure(request) for request in requests], sequential=sequential)

    def latency(percent: int) -> Quantity | None:
        values = [known[percent] for known in latencies if percent in known]
        return _quantity(requests, values, sequential=sequential) if len(values) == len(requests) else None

    each_decodes = all(
        len(one.token_times_s) > 1 and one.token_times_s[-1] > one.token_times_s[0]
        for request in requests
        for one in request.sequences
    )
    summary = Summary(
        generation_tokens_per_s=quantity(generation_tokens_per_s),
        total_tokens_per_s=quantity(total_tokens_per_s),
        decode_tokens_per_s=quantity(decode_tokens_per_s) if all(map(decodes, requests)) else None,
        prefill_tokens_per_s=quantity(prefill_tokens_per_s) if cell.workload.context_length >= PREFILL_TOKENS else None,
        sequence_generation_tokens_per_s=quantity(sequence_generation_tokens_per_s),
        sequence_decode_tokens_per_s=quantity(sequence_decode_tokens_per_s) if each_decodes else None,
        time_to_first_token_s=quantity(time_to_first_token_s),
        time_to_last_first_token_s=quantity(time_to_last_first_token_s),
        duration_s=quantity(lambda request: request.duration_s),
        inter_token_latency_p50_s=latency(50),
        inter_token_latency_p90_s=latency(90),
        inter_token_latency_p99_s=latency(99),
        memory=peak_memory([sample.memory for sample in samples]),
        predicted=cell.protocol.quick,
    )
    return widened(summary) if summary.predicted else summary


def without_intervals(summary: Summary) -> Summary:
    """`summary` with nothing said about how well its values are known."""
    quantities = {name: value for name, value in summary if isinstance(value, Quantity)}
    return summary.model_copy(
        update={name: value.model_copy(update={"interval": None}) for name, value in quantities.items()}
    )


def peak_memory(readings: Sequence[Memory]) -> Memory:
    """The highest reading under each name; None where no reading has it."""
    values: dict[str, int] = {}
    for reading in readings:
        for name, value in reading.model_dump(exclude_none=True).items():
            values[name] = max(value, values.get(name, value))
    return Memory(**values)


def whole_requests(samples: Sequence[Sample], cell: Cell) -> list[Sample]:
    """The samples of whole requests; in a quick measurement those that its pairs of windows predict.

    None are predicted where their tokens are too many to be held.
    """
    if not cell.protocol.quick:
        return list(samples)
    starts = [sample for sample in samples if sample.window == "start"]
    ends = [sample for sample in samples if sample.window == "end"]
    pairs = list(zip(starts, ends, strict=False))
    if sum(len(start.sequences) for start, _ in pairs) * cell.workload.generate_length > MOST_PREDICTED:
        return []
    predicted = [predict(start, end, cell) for start, end in pairs]
    return [request for request in predicted if request]


def precise(samples: Sequence[Sample], cell: Cell) -> bool:
    """Whether the speed is known as precisely as the cell asks for, so that no more repeats are needed."""
    summary = summarize(samples, cell)
    wanted = cell.protocol.precision
    if summary is None or wanted is None:
        return False
    width = half_width(summary.generation_tokens_per_s)
    return width is not None and width <= wanted


def half_width(quantity: Quantity) -> float | None:
    """Half the width of the interval relative to the mean; None without an interval."""
    if quantity.interval is None:
        return None
    return (quantity.interval.high - quantity.interval.low) / 2 / quantity.mean


def repeats_needed(values: Sequence[float], wanted: float) -> int:
    """About how many repeats it takes until `--precision wanted` is reached, by the spread of `values`."""
    spread = float(np.std(values, ddof=1)) / statistics.fmean(values)
    return DEPENDENCE_REPEATS + int((_half_widths() * spread > wanted).sum())


@cache
def _half_widths() -> Values:
    """Half the width of the interval of DEPENDENCE_REPEATS and more values whose standard deviation is 1."""
    counts = np.arange(DEPENDENCE_REPEATS, MOST_NEEDED)
    return np.asarray(stdtrit(counts - 1, (1 + SEQUENTIAL_CONFIDENCE) / 2) / np.sqrt(counts))


def units(samples: Sequence[Sample], values: Sequence[float]) -> tuple[list[float], bool]:
    """Those of the `values`, one of each sample, that may count as independent, and whether they are of processes.

    The means of the processes where there are several, because repeats in one process share what it happened to get;
    the repeats of a single process else.
    """
    processes: dict[int, list[float]] = {}
    for sample, value in zip(samples, values, strict=True):
        processes.setdefault(sample.process, []).append(value)
    if len(processes) > 1:
        return [statistics.fmean(of_one) for of_one in processes.values()], True
    return next(iter(processes.values())), False


def student_half_width(values: ArrayLike, confidence: float) -> Values:
    """Half the width of Student's t interval of the mean.

    Student, The probable error of a mean, Biometrika 6 (1908). Exact for normal values; for skewed ones the
    simulation in tests/judge shows what it covers.
    """
    numbers = np.asarray(values, dtype=np.float64)
    count = numbers.shape[-1]
    error = numbers.std(axis=-1, ddof=1) / np.sqrt(count)
    return np.asarray(stdtrit(count - 1, (1 + confidence) / 2) * error)


def trend_p(values: ArrayLike) -> Values:
    """P value of a straight trend in independent values: two-sided t test of the slope."""
    numbers = np.asarray(values, dtype=np.float64)
    count = numbers.shape[-1]
    steps, centred = np.arange(count) - (count - 1) / 2, _centred(numbers)
    slope = centred @ steps / (steps @ steps)
    rest = np.maximum((centred**2).sum(axis=-1) - slope**2 * (steps @ steps), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.abs(slope) * np.sqrt((count - 2) * (steps @ steps) / rest)
    return np.where(slope == 0, 1.0, 2 * stdtr(count - 2, -score))


def autocorrelation_p(values: ArrayLike) -> Values:
    """P value of a positive autocorrelation with lag 1 in independent values, one-sided.

    The ratio of the mean square successive difference to the variance; von Neumann, Annals of Mathematical
    Statistics 12 (1941). For n independent normal values its mean is 2 and its variance 4 (n - 2) / (n² - 1).
    """
    numbers = np.asarray(values, dtype=np.float64)
    count = numbers.shape[-1]
    spread = (_centred(numbers) ** 2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (np.diff(numbers, axis=-1) ** 2).sum(axis=-1) / spread
    score = (2 - ratio) / np.sqrt(4 * (count - 2) / (count**2 - 1))
    return np.where(spread == 0, 1.0, ndtr(-score))


def dependent(values: ArrayLike) -> NDArray[np.bool_]:
    """Whether the order of `values` shows that they are not independent: by a trend, or by autocorrelation.

    Fewer than DEPENDENCE_REPEATS show nothing.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape[-1] < DEPENDENCE_REPEATS:
        return np.zeros(numbers.shape[:-1], dtype=np.bool_)
    moving = np.ptp(numbers, axis=-1) > RESOLUTION * np.abs(numbers.mean(axis=-1))
    unlikely = np.minimum(trend_p(numbers), autocorrelation_p(numbers)) < INDEPENDENCE_LEVEL
    return np.asarray(moving & unlikely)


def dependence(values: Sequence[float]) -> Literal["trend", "autocorrelation"] | None:
    """What shows that `values` are not independent; None where nothing does."""
    if not dependent(values):
        return None
    return "trend" if trend_p(values) < INDEPENDENCE_LEVEL else "autocorrelation"


def outlier_p(value: ArrayLike, others: ArrayLike) -> Values:
    """P value of a further value as far from the mean of the `others`: two-sided t test."""
    numbers, further = np.asarray(others, dtype=np.float64), np.asarray(value, dtype=np.float64)
    count = numbers.shape[-1]
    away = np.abs(further - numbers.mean(axis=-1))
    error = numbers.std(axis=-1, ddof=1) * np.sqrt(1 + 1 / count)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = away / error
    return np.where(away == 0, 1.0, 2 * stdtr(count - 1, -score))


def between_group_variance(values: ArrayLike) -> Values:
    """The share of the variance that lies between two groups, of at least two values each, split where it is largest.

    0 without variance.
    """
    numbers = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    count = numbers.shape[-1]
    centred = _centred(numbers)
    total = (centred**2).sum(axis=-1)
    low = np.arange(2, count - 1)
    sums = np.cumsum(centred, axis=-1)[..., low - 1]
    between = (sums**2 * count / (low * (count - low))).max(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total == 0, 0.0, between / total)


def two_groups(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The lower and the upper group behind `between_group_variance`."""
    ordered = sorted(values)

    def within(low: int) -> float:
        return float(np.var(ordered[:low]) * low + np.var(ordered[low:]) * (len(ordered) - low))

    cut = min(range(2, len(ordered) - 1), key=within)
    return ordered[:cut], ordered[cut:]


def _decoded(times_s: Sequence[float], started_s: float) -> int:
    if times_s[0] == started_s:
        return len(times_s) - 1
    return sum(1 for time_s in times_s[1:] if time_s > started_s)


def _quantity(samples: Sequence[Sample], values: Sequence[float], *, sequential: bool) -> Quantity:
    independent_values, over_processes = units(samples, values)
    return Quantity(
        mean=statistics.fmean(independent_values),
        stdev=_stdev(values) if len(values) > 1 else None,
        minimum=min(values),
        maximum=max(values),
        interval=_interval(independent_values, over_processes=over_processes, sequential=sequential),
    )


def _stdev(values: Sequence[float]) -> float:
    """The standard deviation of a sample; as exact as `statistics.stdev`, whose fractions take most of a judgement."""
    mean = statistics.fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _interval(values: Sequence[float], *, over_processes: bool, sequential: bool) -> Interval | None:
    """Student's t interval of the mean; None where too few values are there or they depend on each other."""
    if len(values) < (INTERVAL_PROCESSES if over_processes else INTERVAL_REPEATS) or dependent(values):
        return None
    stopped = sequential and not over_processes
    half = float(student_half_width(values, SEQUENTIAL_CONFIDENCE if stopped else CONFIDENCE))
    mean = statistics.fmean(values)
    return Interval(
        low=mean - half,
        high=mean + half,
        method="student_t_sequential" if stopped else "student_t",
        over="processes" if over_processes else "repeats",
        independence="tested" if len(values) >= DEPENDENCE_REPEATS else "assumed",
    )


def _centred(values: Values) -> Values:
    return np.asarray(values - values.mean(axis=-1, keepdims=True))
