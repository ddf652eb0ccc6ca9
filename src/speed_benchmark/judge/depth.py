"""Decoding by depth: how the time between tokens grows with the tokens before them, from the run that was made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speed_benchmark.cell import QUICK_SETTLING_TOKENS
from speed_benchmark.judge import work
from speed_benchmark.judge.judgement import Depth, DepthSpeed, Roofline
from speed_benchmark.judge.roofline import bandwidth
from speed_benchmark.judge.token_times import signatures
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.record import Record

# Tokens of context at which a speed is said.
DEPTHS = (8192, 32_768, 131_072)
# Gaps are seen through their medians over so many positions: single stalls don't count, and the blocks of one request
# hardly depend on each other. Never more than so many blocks, whose pairs are all looked at; fewer show no slope.
BLOCK_TOKENS = 64
MOST_BLOCKS = 256
LEAST_BLOCKS = 6
# A speed of which the slope says no more than this (upper end over lower end) is not said.
WIDEST = 1.5


@dataclass(frozen=True)
class Line:
    """The time between two tokens by the position of the later one; the slope with its 95 % interval."""

    position: float
    gap_s: float
    slope_s: float
    slope_low_s: float
    slope_high_s: float

    def gap_at(self, position: ArrayLike, slope_s: float | None = None) -> NDArray[np.float64]:
        """The time before the token at `position`, by another slope where one is given."""
        slope = self.slope_s if slope_s is None else slope_s
        return np.asarray(self.gap_s + slope * (np.asarray(position) - self.position))


def depth(record: Record, limits: Roofline | None) -> Depth | None:
    """How decoding slows with depth; None where the host paces it, and of an output too short to show it.

    The slope of a cell that the host paces is the host's: it says nothing about other depths.
    """
    if limits is None or not is_device_paced(record, limits):
        return None
    found, cost, peaks = line(record), record.token_cost, record.device_peaks
    if found is None or cost is None or peaks is None:
        return None
    grown_bytes = _growth_bytes(cost, found.position)
    return Depth(
        slope_s_per_token=found.slope_s,
        slope_low_s_per_token=found.slope_low_s,
        slope_high_s_per_token=found.slope_high_s,
        roof_slope_s_per_token=_roof_slope_s(record, cost, peaks, grown_bytes),
        speeds=tuple(
            speed
            for position in DEPTHS
            if position <= _reach(record)
            and _growth_bytes(cost, position) == grown_bytes
            and (speed := _speed(record, found, position)) is not None
        ),
    )


def is_device_paced(record: Record, limits: Roofline) -> bool:
    """Whether the device sets the pace of decoding, by what bounds it or by the times of its tokens."""
    if limits.bound_by in ("memory", "device"):
        return True
    seen = signatures(record)
    return seen is not None and seen.pace == "device"


def line(record: Record) -> Line | None:
    """The line through the gaps of all repeats by position; None of too few.

    Its slope is that of Theil and Sen: the median over all pairs of blocks, which a clock that changed once leaves
    alone. Its height is the mean gap, for speeds are means. The first tokens after a prefill and the last one of a
    request come at a pace of their own. A quick measurement has a line by its making, and nothing to tell its error by.
    """
    if record.cell.protocol.quick:
        return None
    positions, gaps_s = _gaps(record)
    if not len(gaps_s):
        return None
    tokens = max(BLOCK_TOKENS, -(-int(np.ptp(positions) + 1) // MOST_BLOCKS))
    blocks = (positions - positions.min()) // tokens
    middles, medians_s = _medians(blocks, positions, gaps_s)
    if len(middles) < LEAST_BLOCKS:
        return None
    from scipy.stats import theilslopes  # a second to import, and most short records need no line

    slope_s, _, low_s, high_s = theilslopes(medians_s, middles)
    return Line(float(positions.mean()), float(gaps_s.mean()), float(slope_s), float(low_s), float(high_s))


def _gaps(record: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position and gap of each token that comes at an even pace, of all sequences of all repeats."""
    positions, gaps_s = [], []
    for sample in record.samples:
        for sequence in sample.sequences:
            times_s = np.asarray(sequence.token_times_s)
            tokens = np.arange(1 + QUICK_SETTLING_TOKENS, len(times_s) - 1)
            tokens = tokens[times_s[tokens - 1] >= sample.all_started_s]
            positions.append(sequence.prompt_tokens + tokens)
            gaps_s.append(times_s[tokens] - times_s[tokens - 1])
    return np.concatenate(positions).astype(np.float64), np.concatenate(gaps_s)


def _medians(
    blocks: NDArray[np.float64], positions: NDArray[np.float64], gaps_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each block, the mean position and the median gap."""
    order = np.argsort(blocks, kind="stable")
    ends = np.flatnonzero(np.diff(blocks[order])) + 1
    middles = [float(part.mean()) for part in np.split(positions[order], ends)]
    return np.array(middles), np.array([float(np.median(part)) for part in np.split(gaps_s[order], ends)])


def _growth_bytes(cost: TokenCost, position: float) -> float:
    """By how much the cache of a sequence of this length grows with a token.

    Less once a window is full: a line does not hold on both sides of that.
    """
    before, after = work.cache_bytes(cost, [position, position + 1])
    return float(after - before)


def _roof_slope_s(record: Record, cost: TokenCost, peaks: DevicePeaks, grown_bytes: float) -> float:
    """The slope of a cache that is read at the measured bandwidth: that of all sequences, for all of them grow."""
    bytes_per_s = bandwidth(peaks, cost.weight_bytes / cost.devices_at_once) * cost.devices_at_once
    return record.cell.workload.batch_size * grown_bytes / bytes_per_s


def _reach(record: Record) -> float:
    """The longest sequence that the model takes, or that the engine was loaded for where nothing tells the former."""
    known = record.checkpoint.max_positions if record.checkpoint else None
    return known or (record.loaded.max_model_len if record.loaded else None) or float("inf")


def _speed(record: Record, found: Line, position: int) -> DepthSpeed | None:
    """The speed of all sequences at so many tokens of context; None where the slope says too little."""
    ends = sorted(float(found.gap_at(position, slope)) for slope in (found.slope_low_s, found.slope_high_s))
    if ends[0] <= 0 or ends[1] > WIDEST * ends[0]:
        return None
    sequences = record.cell.workload.batch_size
    return DepthSpeed(
        context_tokens=position,
        decode_tokens_per_s=sequences / float(found.gap_at(position)),
        low=sequences / ends[1],
        high=sequences / ends[0],
    )
