"""What sets the pace, told from the times of tokens alone: signatures of an engine that launches steps ahead. Pure.

Where the device sets the pace, a token's time carries only the jitter of being seen, so that a long gap is followed by
a short one: the autocorrelation of gaps goes towards -1/2. Where the host does, it does not; at the last token the host
has nothing more to launch, so that this gap is shorter; and a new block of the key-value cache, which costs the host
some time, is a bump that a device which is behind would hide.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speed_benchmark.record.record import Record

# Tokens of a block: shorter than a slow spell of the host, longer than what a neighbour in time has to do with.
BLOCK_TOKENS = 64
# Gaps before these are not yet like the others.
SETTLING_TOKENS = 16
# Jitter alone has -1/2; steps that don't depend on each other, as a steady host's, have 0, with a standard error of
# 0.02 in 31 blocks and of 0.125 in one. Below the first bound it is the device, above the second it may be the host.
DEVICE_AUTOCORRELATION = -0.2
HOST_AUTOCORRELATION = -0.1
# Of the median gap.
HOST_LAST_GAP = -0.1
HOST_BUMP = 0.02
# An outlier counts as so many median deviations: one stall is no autocorrelation.
_MOST_DEVIATIONS = 5.0

Pace = Literal["device", "host"]


@dataclass(frozen=True)
class Signatures:
    """Medians over requests of one sequence.

    `autocorrelation` is that of neighbouring gaps within blocks of 64; the last gap and the bump (the largest median of
    the gaps at one place in a block of the cache) are differences to the median gap, as parts of it. The bump is None
    where the engine has no such blocks.
    """

    autocorrelation: float
    last_gap: float
    bump: float | None

    @property
    def pace(self) -> Pace | None:
        """What sets it; None where the signatures don't agree, as where host and device are balanced or take turns."""
        if self.autocorrelation < DEVICE_AUTOCORRELATION:
            return "device"
        slower = self.autocorrelation > HOST_AUTOCORRELATION and self.last_gap < HOST_LAST_GAP
        return "host" if slower and self.bump is not None and self.bump > HOST_BUMP else None


def signatures(record: Record) -> Signatures | None:
    """Those of measured requests; None of a quick measurement, and where no request has a whole block of gaps."""
    if record.cell.protocol.quick or not all(sample.is_timed for sample in record.samples):
        return None
    block = record.loaded.kv_cache_block_tokens if record.loaded else None
    found = [
        _signatures(gaps_s, sequence.prompt_tokens + SETTLING_TOKENS + 1, block)
        for request in record.samples
        for sequence in request.sequences[:1]
        if len(gaps_s := np.diff(sequence.token_times_s)[SETTLING_TOKENS:]) > BLOCK_TOKENS and np.median(gaps_s) > 0
    ]
    if not found:
        return None
    bumps = [one.bump for one in found if one.bump is not None]
    return Signatures(
        autocorrelation=float(np.median([one.autocorrelation for one in found])),
        last_gap=float(np.median([one.last_gap for one in found])),
        bump=float(np.median(bumps)) if bumps else None,
    )


def _signatures(gaps_s: NDArray[np.float64], position: int, block_tokens: int | None) -> Signatures:
    """Those of one sequence, whose first gap ends with the token at `position`."""
    usual_s, body_s = float(np.median(gaps_s)), gaps_s[:-1]
    return Signatures(
        autocorrelation=_autocorrelation(body_s),
        last_gap=float(gaps_s[-1] / usual_s - 1),
        bump=_bump(body_s, position, block_tokens) / usual_s if block_tokens else None,
    )


def _autocorrelation(gaps_s: NDArray[np.float64]) -> float:
    """Of each gap with the next, within whole blocks, each about its own mean; 0 where all are the same."""
    usual_s = np.median(gaps_s)
    reach_s = _MOST_DEVIATIONS * np.median(np.abs(gaps_s - usual_s))
    whole = len(gaps_s) // BLOCK_TOKENS * BLOCK_TOKENS
    blocks = np.clip(gaps_s, usual_s - reach_s, usual_s + reach_s)[:whole].reshape(-1, BLOCK_TOKENS)
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    spread = float((blocks**2).sum())
    return float((blocks[:, 1:] * blocks[:, :-1]).sum()) / spread if spread else 0.0


def _bump(gaps_s: NDArray[np.float64], position: int, block_tokens: int) -> float:
    """How much longer the gaps at one place of a block are than the median gap; at most places there is nothing."""
    places = (position + np.arange(len(gaps_s))) % block_tokens
    medians = [np.median(gaps_s[places == place]) for place in range(block_tokens) if (places == place).any()]
    return float(max(medians) - np.median(gaps_s))
