"""Whether the speed is known well enough, and how well each part of it is."""

from speed_benchmark.cell import INTERVAL_REPEATS
from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.rules.rule import Found, rule
from speed_benchmark.judge.seen import Seen
from speed_benchmark.judge.statistics import INTERVAL_PROCESSES, half_width

# A speed that is known worse than this, to either side, is no speed to compare.
WIDE = 0.05


@rule("few_repeats", Severity.NOTE, ("repeats", "processes"))
def few_repeats(seen: Seen) -> Found:
    """An interval needs enough repeats, or enough processes."""
    speeds, over = seen.speeds
    needed = INTERVAL_PROCESSES if over == "processes" else INTERVAL_REPEATS
    if 0 < len(speeds) < needed:
        yield {"variant": over, "count": len(speeds), "needed": needed}


@rule("wide_interval", Severity.DOUBTFUL)
def wide_interval(seen: Seen) -> Found:
    """The speed is known well enough to be compared."""
    width = half_width(seen.summary.generation_tokens_per_s) if seen.summary else None
    if width is not None and width > WIDE:
        yield {"share": width}


@rule("wide_spread", Severity.DOUBTFUL)
def wide_spread(seen: Seen) -> Found:
    """Without an interval, the speeds of the repeats are near each other."""
    if seen.summary is None:
        return
    speed = seen.summary.generation_tokens_per_s
    if speed.interval is None and speed.maximum - speed.minimum > 2 * WIDE * speed.mean:
        yield {"minimum_tokens_per_s": speed.minimum, "maximum_tokens_per_s": speed.maximum}


@rule("precision_not_reached", Severity.DOUBTFUL, ("", "no_interval"))
def precision_not_reached(seen: Seen) -> Found:
    """The precision that was asked for is reached."""
    wanted = seen.record.cell.protocol.precision
    if wanted is None or seen.summary is None:
        return
    speeds, over = seen.speeds
    width = half_width(seen.summary.generation_tokens_per_s)
    if width is None:
        yield {"variant": "no_interval", "wanted": wanted, "count": len(speeds), "over": over}
    elif width > wanted:
        yield {"wanted": wanted, "share": width, "count": len(speeds), "over": over}


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
