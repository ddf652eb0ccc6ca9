"""A quick measurement: the whole request, extrapolated from windows at the start and at the end of its output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speed_benchmark.cell import QUICK_SETTLING_TOKENS, Cell
from speed_benchmark.record.sample import Sample


@dataclass(frozen=True)
class _Settled:
    """Tokens of a window that come at an even pace: how far from its end on average, and the mean gap before them."""

    tokens_to_end: float
    gap_s: float


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
    """Of the sequence at `index`, the gaps in which all sequences run; the first ones are left out.

    Decoding settles in these after a prefill, as it does at the start of a whole request but not towards its end.
    """
    ended_s = min(sequence.token_times_s[-1] for sequence in window.sequences)
    times_s = np.asarray(window.sequences[index].token_times_s)
    tokens = np.arange(1 + QUICK_SETTLING_TOKENS, len(times_s))
    tokens = tokens[(times_s[tokens - 1] >= window.all_started_s) & (times_s[tokens] <= ended_s)]
    if not len(tokens):
        return None
    gaps_s = times_s[tokens] - times_s[tokens - 1]
    return _Settled(tokens_to_end=len(times_s) - float(tokens.mean()), gap_s=float(gaps_s.mean()))


def _predicted_times(
    start: _Settled | None, end: _Settled | None, known_s: Sequence[float], asked: int
) -> tuple[float, ...] | None:
    """The times of `asked` tokens of a sequence, of which those in `known_s` are known.

    The time between tokens grows with the position, because attention reads what is there: a line through the means
    of the two windows gives the tokens between them.
    """
    if start is None or end is None:
        return None
    first = len(known_s)
    start_at, end_at = first - start.tokens_to_end, asked - end.tokens_to_end
    if end_at <= start_at:
        return None
    slope = (end.gap_s - start.gap_s) / (end_at - start_at)
    line_s = start.gap_s + slope * (np.arange(first, asked) - start_at)
    return (*known_s, *(known_s[-1] + np.cumsum(line_s)).tolist())
