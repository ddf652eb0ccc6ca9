"""The pace of decoding within one request: the quiet pace, and whether there were two.

A host that shares its processor decodes in spells: about a second at one pace, then one at a pace 1.2 to 1.75 times
slower. Both show in the medians of blocks of tokens, which single stalls leave alone. That decoding slows as the
sequence gets longer is taken out first, by a straight line, so that what is left is as if in the middle of the output.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speed_benchmark.judge.judgement import Paces
from speed_benchmark.judge.statistics import Values, autocorrelation_p, between_group_variance
from speed_benchmark.record.sample import Sample

BLOCK_TOKENS = 16
# Fewer blocks show neither a tenth of them nor two groups.
LEAST_BLOCKS = 12
QUIET_PERCENT = 10
# Two paces: two groups explain so much of the variance (of one normal spread 0.64, of a short one more), are so far
# from each other, have so many blocks each, and stand in spells: blocks in any order would look as alike as their
# neighbours do more rarely than this. Chosen on nvidia-h200 of the fixtures of schema 1; tests/judge/test_pace.py holds
# them against the other folders, and simulates how often one pace looks like two.
TWO_PACES_VARIANCE = 0.7
TWO_PACES_RATIO = 1.15
TWO_PACES_BLOCKS = 3
TWO_PACES_CHANCE = 0.001
# A straight line and two groups are found in turn; that has settled after so many.
_ROUNDS = 3


def quiet_gap_s(sample: Sample) -> float | None:
    """The time of a token while nothing slows the host: the 10th percentile of the blocks; None of too few."""
    blocks_s = _levelled(_blocks(sample))
    return None if blocks_s is None else float(np.percentile(blocks_s, QUIET_PERCENT))


def quiet_tokens_per_s(requests: Sequence[Sample], quiet_gaps_s: Sequence[float | None]) -> float | None:
    """Decoded tokens/s of all sequences at the quiet pace, mean of the `requests`; None where one is too short."""
    speeds = [
        len(request.sequences) / gap_s
        for request, gap_s in zip(requests, quiet_gaps_s, strict=True)
        if gap_s is not None
    ]
    return float(np.mean(speeds)) if speeds and len(speeds) == len(requests) else None


def paces(requests: Sequence[Sample]) -> Paces | None:
    """The two paces of those `requests` that show two, and how much of the time of all was at the slow one."""
    levelled = [blocks_s for request in requests if (blocks_s := _levelled(_blocks(request))) is not None]
    two = [blocks_s for blocks_s in levelled if _has_two(blocks_s)]
    if not two:
        return None
    slow = [_is_slow(blocks_s) for blocks_s in two]
    fast_s, slow_s = (
        float(np.concatenate([blocks_s[which == state] for blocks_s, which in zip(two, slow, strict=True)]).mean())
        for state in (False, True)
    )
    spells = sum(int(np.count_nonzero(np.diff(which.astype(int), prepend=0) == 1)) for which in slow)
    every_s = np.concatenate(levelled)
    return Paces(
        fast_s=fast_s,
        slow_s=slow_s,
        slow_share=float(every_s[every_s**2 > fast_s * slow_s].sum() / every_s.sum()),
        dwell_s=BLOCK_TOKENS * slow_s * sum(map(np.count_nonzero, slow)) / spells,
    )


def _blocks(sample: Sample) -> Values:
    """The median gap of each block of tokens. The first sequence stands for all: they decode in the same steps."""
    gaps_s = np.diff(np.asarray(sample.sequences[0].token_times_s if sample.sequences else (), dtype=np.float64))
    whole = len(gaps_s) // BLOCK_TOKENS
    return np.asarray(np.median(gaps_s[: whole * BLOCK_TOKENS].reshape(whole, BLOCK_TOKENS), axis=-1))


def _levelled(blocks_s: Values) -> Values | None:
    """`blocks_s` without the straight line that both groups of them share; None of too few, or without a pace.

    The line is found within the groups, because a slow spell at one end would tilt one through all blocks.
    """
    if len(blocks_s) < LEAST_BLOCKS:
        return None
    place = np.arange(len(blocks_s)) - (len(blocks_s) - 1) / 2
    level_s = blocks_s
    for _ in range(_ROUNDS):
        slow = _is_slow(level_s)
        x, y = place.copy(), blocks_s.copy()
        for group in (slow, ~slow):
            x[group] -= x[group].mean()
            y[group] -= y[group].mean()
        level_s = blocks_s - (x @ y) / (x @ x) * place
    return level_s if level_s.min() > 0 else None


def _is_slow(values: Values) -> NDArray[np.bool_]:
    """Which of `values` are in the upper of the two groups that explain most of their variance."""
    order = np.argsort(values, kind="stable")
    low = np.arange(1, len(values))
    sums = np.cumsum(values[order] - values.mean())[:-1]
    slow = np.ones(len(values), dtype=np.bool_)
    slow[order[: low[np.argmax(sums**2 / (low * (len(values) - low)))]]] = False
    return slow


def _has_two(blocks_s: Values) -> bool:
    """Whether the blocks of a request are of two paces, each left again: one step may come with the length."""
    slow = _is_slow(blocks_s)
    fewest = min(np.count_nonzero(slow), np.count_nonzero(~slow))
    if fewest < TWO_PACES_BLOCKS or np.count_nonzero(np.diff(slow)) < 2:
        return False
    return bool(
        blocks_s[slow].mean() >= TWO_PACES_RATIO * blocks_s[~slow].mean()
        and between_group_variance(blocks_s) >= TWO_PACES_VARIANCE
        and autocorrelation_p(blocks_s) < TWO_PACES_CHANCE
    )
