"""Whether the speed is known well enough, and how well each part of it is."""

from collections.abc import Iterable

from speed_benchmark.cell import INTERVAL_REPEATS, MAX_REPEATS
from speed_benchmark.judge.judgement import FindingValue, Quantity, Severity
from speed_benchmark.judge.rules.rule import PACED, WHOLE, Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.judge.statistics import (
    INTERVAL_PROCESSES,
    half_width,
    inter_token_latencies_s,
    repeats_needed,
    time_to_first_token_s,
)
from speed_benchmark.judge.texts import digits

# A speed that is known worse than this, to either side, is no speed to compare. With this bar at most 2 % of records
# are valid and off by more, whatever the spread and the number of repeats from 3 on.
WIDE = 0.05
# The same for what is one event of a request, as the first token and the slowest tenth of the gaps are: they vary more
# than the mean over all tokens, and repeats end when that is known.
PART_WIDE = 0.1
# So many values are listed in a text; of more their range is told.
MOST_LISTED = 6


@rule("few_repeats", Severity.DOUBTFUL, ("repeats", "processes"), of=PACED)
def few_repeats(seen: Seen) -> Found:
    """An interval needs enough repeats, or enough processes; without one nobody knows how far a figure is off."""
    speeds, over = seen.speeds
    needed = INTERVAL_PROCESSES if over == "processes" else INTERVAL_REPEATS
    if 0 < len(speeds) < needed:
        yield {"variant": over, "count": len(speeds), "needed": needed}


@rule("wide_interval", Severity.DOUBTFUL, ("repeats", "processes", "many"), of=WHOLE)
def wide_interval(seen: Seen) -> Found:
    """The speed is known well enough to be compared."""
    width = half_width(seen.summary.generation_tokens_per_s) if seen.summary else None
    if width is not None and width > WIDE:
        speeds, over = seen.speeds
        needed = repeats_needed(speeds, WIDE)
        known: dict[str, FindingValue] = {"share": width, "needed": needed}
        yield known | ({"variant": over} if needed <= MAX_REPEATS else {"variant": "many", "over": over})


@rule("wide_spread", Severity.DOUBTFUL, of=WHOLE)
def wide_spread(seen: Seen) -> Found:
    """Where enough repeats have no interval, because they depend on each other, their speeds are near each other."""
    speeds, _ = seen.speeds
    if seen.summary is None or len(speeds) < INTERVAL_REPEATS:
        return
    speed = seen.summary.generation_tokens_per_s
    if speed.interval is None and _ranges_over(speed, WIDE):
        yield {
            "minimum_tokens_per_s": speed.minimum,
            "maximum_tokens_per_s": speed.maximum,
            "needed": INTERVAL_PROCESSES,
        }


@rule("precision_not_reached", Severity.DOUBTFUL, ("repeats", "processes", "many", "no_interval", "default"), of=WHOLE)
def precision_not_reached(seen: Seen) -> Found:
    """The precision that was asked for is reached; the default one is no demand, and it is said how to reach it."""
    protocol = seen.record.cell.protocol
    wanted = protocol.precision
    if wanted is None or seen.summary is None:
        return
    speeds, over = seen.speeds
    width = half_width(seen.summary.generation_tokens_per_s)
    reached: dict[str, FindingValue] = {"wanted": wanted, "count": len(speeds), "over": over}
    if width is None:
        if not protocol.is_default:
            yield reached | {"variant": "no_interval"}
        return
    if width <= wanted:
        return
    reached |= {"share": width, "needed": (needed := repeats_needed(speeds, wanted))}
    if not protocol.is_default:
        yield reached | {"variant": over if needed <= MAX_REPEATS else "many"}
    elif over == "repeats" and width <= WIDE:  # a wider one is doubted anyway
        yield Severity.NOTE, reached | {"variant": "default"}


@rule("wide_first_token", Severity.DOUBTFUL, of=("time_to_first_token",))
def wide_first_token(seen: Seen) -> Found:
    """The time to first token is known well enough."""
    if seen.summary and _is_wide(seen.summary.time_to_first_token_s):
        yield {"seen_ms": _listed(map(time_to_first_token_s, seen.requests))}


@rule("wide_percentiles", Severity.DOUBTFUL, of=("percentiles",))
def wide_percentiles(seen: Seen) -> Found:
    """The percentiles of the gaps between tokens are known well enough."""
    if seen.summary is None:
        return
    found = {
        50: seen.summary.inter_token_latency_p50_s,
        90: seen.summary.inter_token_latency_p90_s,
        99: seen.summary.inter_token_latency_p99_s,
    }
    wide = [percent for percent, quantity in found.items() if quantity and _is_wide(quantity)]
    if wide:
        latencies_s = [inter_token_latencies_s(request) for request in seen.requests]
        yield {"seen_ms": "; ".join(f"p{one} {_listed(known[one] for known in latencies_s)}" for one in wide)}


@rule("coarse_energy", Severity.DOUBTFUL, of=("energy",))
def coarse_energy(seen: Seen) -> Found:
    """The energy of every repeat is known, by enough readings."""
    energies = [sample.readings.energy if sample.readings else None for sample in seen.record.samples]
    fine = sum(energy is not None and not energy.too_coarse for energy in energies)
    if any(energies) and fine < len(energies):
        yield {"fine": fine, "count": len(energies)}


@rule("dependent_part", Severity.NOTE, ("time_to_first_token", "decode_rate"))
def dependent_part(seen: Seen) -> Found:
    """What has no interval although the speed has one is named."""
    summary = seen.summary
    if summary is None or summary.generation_tokens_per_s.interval is None:
        return
    parts = {"time_to_first_token": summary.time_to_first_token_s, "decode_rate": summary.decode_tokens_per_s}
    for name, quantity in parts.items():
        if quantity and quantity.interval is None:
            yield {"variant": name}


def _is_wide(quantity: Quantity) -> bool:
    """Whether a part of the request is known too badly: by its interval, or by the range of what depends."""
    width = half_width(quantity)
    return _ranges_over(quantity, PART_WIDE) if width is None else width > PART_WIDE


def _ranges_over(quantity: Quantity, share: float) -> bool:
    """Whether repeats are further than this share of the mean on either side apart."""
    return quantity.maximum - quantity.minimum > 2 * share * quantity.mean


def _listed(values_s: Iterable[float]) -> str:
    """Each value, in ms; of many the least and the greatest."""
    values_ms = [1000 * value_s for value_s in values_s]
    if len(values_ms) > MOST_LISTED:
        return f"{digits(min(values_ms), 3)} ... {digits(max(values_ms), 3)}"
    return ", ".join(digits(value_ms, 3) for value_ms in values_ms)
