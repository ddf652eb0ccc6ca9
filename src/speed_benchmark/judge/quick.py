"""A quick measurement: the whole request, extrapolated from windows at the start and at the end of its output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speed_benchmark.cell import QUICK_SETTLING_TOKENS, Cell
from speed_benchmark.judge.judgement import Quantity, Summary
from speed_benchmark.record.sample import Sample

# By how much of the speed a prediction may be off although its repeats agree: a straight line is not all that happens
# between two windows. `benchmarks/quick.py --cut` fits it on the full records that the device paces: 0.45 % over all of
# them, and that of either half of the cells covers the other half.
MODEL_ERROR = 0.005
# What is measured in the windows themselves, and not predicted from them.
MEASURED = ("time_to_first_token_s", "time_to_last_first_token_s", "prefill_tokens_per_s")


@dataclass(frozen=True)
class _Settled:
    """Tokens of a window that come at an even pace: how far from its end on average, and the mean gap before them.

    `last_gap_s` is the one before the last token of the window's request: nothing is launched after it, so that it is
    longer or shorter than those before it, in each request.
    """

    tokens_to_end: float
    gap_s: float
    last_gap_s: float


def predict(start: Sample, end: Sample, cell: Cell) -> Sample | None:
    """The whole request whose first tokens are `start` and whose last ones are `end`, sequence by sequence.

    None where a window has too few tokens for that, where there is no time in which all of its sequences run, and where
    their pace leads to no time at all.
    """
    asked = cell.workload.generate_length
    sequences = []
    for index, sequence in enumerate(start.sequences[: len(end.sequences)]):
        times_s = _predicted_times(_settled(start, index), _settled(end, index), sequence.token_times_s, asked)
        if times_s is None:
            return None
        sequences.append(sequence.model_copy(update={"token_times_s": times_s, "output_tokens": asked}))
    request = start.model_copy(update={"sequences": tuple(sequences)})
    whole = request.model_copy(update={"duration_s": request.last_token_s + start.duration_s - start.last_token_s})
    return whole if whole.is_timed else None


def _settled(window: Sample, index: int) -> _Settled | None:
    """Of the sequence at `index`, the gaps in which all sequences run, but for the first ones and the last.

    Decoding settles in the first ones after a prefill, as it does at the start of a whole request but not towards its
    end.
    """
    ended_s = min(sequence.token_times_s[-1] for sequence in window.sequences)
    times_s = np.asarray(window.sequences[index].token_times_s)
    tokens = np.arange(1 + QUICK_SETTLING_TOKENS, len(times_s))
    tokens = tokens[(times_s[tokens - 1] >= window.all_started_s) & (times_s[tokens] < ended_s)]
    if not len(tokens):
        return None
    gaps_s = times_s[tokens] - times_s[tokens - 1]
    return _Settled(
        tokens_to_end=len(times_s) - float(tokens.mean()),
        gap_s=float(gaps_s.mean()),
        last_gap_s=float(times_s[-1] - times_s[-2]),
    )


def _predicted_times(
    start: _Settled | None, end: _Settled | None, known_s: Sequence[float], asked: int
) -> tuple[float, ...] | None:
    """The times of `asked` tokens of a sequence, of which those in `known_s` are known.

    The time between tokens grows with the position, because attention reads what is there: a line through the means
    of the two windows gives the tokens between them. The last token of the start's request is one of those, for in the
    whole request others come after it; the last of all comes as it did in the end's.
    """
    if start is None or end is None:
        return None
    start_at, end_at = len(known_s) - start.tokens_to_end, asked - end.tokens_to_end
    if end_at <= start_at:
        return None
    slope = (end.gap_s - start.gap_s) / (end_at - start_at)
    kept_s = known_s[:-1]
    line_s = start.gap_s + slope * (np.arange(len(kept_s), asked - 1) - start_at)
    return (*kept_s, *(kept_s[-1] + np.cumsum([*line_s, end.last_gap_s])).tolist())


def widened(summary: Summary) -> Summary:
    """`summary` of predicted requests with intervals that hold the error of the prediction too."""
    quantities = {name: value for name, value in summary if isinstance(value, Quantity) and name not in MEASURED}
    return summary.model_copy(update={name: _widened(value) for name, value in quantities.items()})


def _widened(quantity: Quantity) -> Quantity:
    """The interval of the repeats, wider by the model's error on either side: that error is the same in all of them."""
    if quantity.interval is None:
        return quantity
    error = MODEL_ERROR * abs(quantity.mean)
    interval = quantity.interval
    wide = interval.model_copy(update={"low": interval.low - error, "high": interval.high + error})
    return quantity.model_copy(update={"interval": wide})
