"""Pure rules from a record to findings, and from findings to one verdict."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from speed_benchmark.cell import INTERVAL_REPEATS, QUICK_WINDOW_TOKENS, Cell
from speed_benchmark.judge.memory_need import memory_need
from speed_benchmark.judge.roofline import roofline
from speed_benchmark.judge.statistics import (
    INTERVAL_PROCESSES,
    dependence,
    generation_tokens_per_s,
    half_width,
    likeness_p,
    split_share,
    summarize,
    surprise_p,
    trend_p,
    two_groups,
    units,
    whole_requests,
    without_intervals,
)
from speed_benchmark.record.record import Finding, Memory, Outcome, Record, Sample, Severity, Verdict

Rule = Callable[[Record], Iterator[Finding]]

# A worker has a thread that launches kernels, and some that help it; with fewer cores they get in each other's way.
ENOUGH_CORES = 4

# How often a rule about chance may speak of a quiet run that is as it should be.
FALSE_ALARMS = 0.01
# Differences in time below this matter to nobody, however sure they are.
MATERIAL = 0.02
# A speed that is known worse than this, to either side, is no speed to compare.
WIDE = 0.05
# Two groups are told from one spread from this many repeats on, where they explain this share of the variance;
# simulated, one normal spread does so in less than 1 in 200 runs.
TWO_TIMINGS_REPEATS, TWO_TIMINGS_SHARE = 8, 0.95
# The two clocks of a run may be this far apart. A moment can't be read on both at once, hence the seconds.
CLOCKS_DOUBTFUL, CLOCKS_INVALID, CLOCKS_RESOLUTION_S = 0.001, 0.01, 0.01
# How much faster a repeated prompt may be than one never sent before.
CACHED = 0.1
# A program that competes for the processor gets half a core at least, a quiet machine's own doings stay far below;
# on many cores, what others do matters as a share.
OTHER_CORES, OTHER_SHARE = 0.25, 0.02
# A CUDA context of somebody else takes more than the first from one repeat to the next, and more than the second
# since the load; kernels and libraries that are loaded by the first requests stay below it.
FOREIGN_BYTES, LATE_BYTES = 256 * 2**20, 512 * 2**20
# Caches of the system that come and go stay below this growth; memory this full may be swapped.
HOST_GROWTH_BYTES, HOST_GROWTH, HOST_FULL = 2**30, 0.1, 0.95
# Reasons for a lowered clock that say that something is wrong; the others are limits somebody chose.
HELD_DOWN = {"hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "hardware power brake"}


def judge(record: Record) -> Record:
    """`record` with its summary, findings and verdict as they follow from the rest of it."""
    summary = summarize(record.samples, record.cell)
    if summary:
        summary = summary.model_copy(update={"need": memory_need(record)})
    summarized = record.model_copy(update={"summary": summary, "roofline": roofline(record)})
    if summary and _guessed(summarized):
        summarized = summarized.model_copy(update={"summary": without_intervals(summary)})
    findings = tuple(finding for rule in RULES for finding in rule(summarized))
    severities = {finding.severity for finding in findings}
    ok = record.outcome in (Outcome.OK, Outcome.INVALID)
    if not ok or Severity.INVALID in severities:
        verdict = Verdict.INVALID
    else:
        verdict = Verdict.DOUBTFUL if Severity.DOUBTFUL in severities else Verdict.VALID
    outcome = (Outcome.INVALID if verdict is Verdict.INVALID else Outcome.OK) if ok else record.outcome
    return summarized.model_copy(update={"findings": findings, "verdict": verdict, "outcome": outcome})


def token_counts(record: Record) -> Iterator[Finding]:
    """The asked number of tokens went in and came out, and each had a time."""
    for number, sample in enumerate(record.samples, 1):
        prompt, output = _asked_tokens(record.cell, sample)
        seen = (sample.prompt_tokens, sample.output_tokens, len(sample.token_times_s))
        if seen != (prompt, output, output):
            yield Finding(
                code="token_counts",
                severity=Severity.INVALID,
                text=(
                    f"repeat {number}: {seen[0]} tokens in, {seen[1]} out, {seen[2]} timed; asked for "
                    f"{prompt} in and {output} out"
                ),
                cure="report it: the engine did not do what was asked",
            )


def token_times(record: Record) -> Iterator[Finding]:
    """Times rise, begin after the request did and end before it ended."""
    for number, sample in enumerate(record.samples, 1):
        times = (0.0, *sample.token_times_s, sample.duration_s)
        if any(later < earlier for earlier, later in pairwise(times)) or sample.duration_s <= 0:
            yield Finding(
                code="token_times",
                severity=Severity.INVALID,
                text=f"repeat {number}: the times of its tokens are not in order",
                cure="report it: the clock or the engine is broken",
            )


def missing_repeats(record: Record) -> Iterator[Finding]:
    """All repeats that were asked for are there, in every process."""
    if record.outcome not in (Outcome.OK, Outcome.INVALID):
        return
    protocol, windows = record.cell.protocol, 2 if record.cell.protocol.quick else 1
    most = protocol.max_repeats or protocol.repeats
    for process in range(protocol.processes):
        there = sum(sample.process == process for sample in record.samples) / windows
        if not protocol.repeats <= there <= most:
            yield Finding(
                code="missing_repeats",
                severity=Severity.INVALID,
                text=f"{there:g} repeats are there in process {process + 1}, {protocol.repeats} were asked for",
                cure="measure again",
            )


def weight_format(record: Record) -> Iterator[Finding]:
    """The loaded layers hold the format that the checkpoint promises."""
    promised = record.checkpoint.quantization if record.checkpoint else None
    if record.loaded and promised and record.loaded.quantization != promised and not _cast(record):
        yield Finding(
            code="weight_format",
            severity=Severity.INVALID,
            text=f"the checkpoint is {promised}, but the engine holds {record.loaded.quantization}",
            cure="check the checkpoint, and that the engine supports its format on this machine",
        )


def cached_prompt(record: Record) -> Iterator[Finding]:
    """No token of a prompt came from a cache."""
    if record.loaded and record.loaded.prefix_caching:
        yield Finding(
            code="prefix_caching",
            severity=Severity.INVALID,
            text="the engine reuses prompts of earlier requests",
            cure="switch prefix caching off",
        )
    for number, sample in enumerate(record.samples, 1):
        if sample.cached_tokens:
            yield Finding(
                code="cached_prompt",
                severity=Severity.INVALID,
                text=f"repeat {number}: {sample.cached_tokens} prompt tokens came from a cache",
                cure="switch prefix caching off",
            )


def no_warmup(record: Record) -> Iterator[Finding]:
    """At least one request ran before the first that counts."""
    if record.samples and not record.cell.protocol.warmups:
        yield Finding(
            code="no_warmup",
            severity=Severity.DOUBTFUL,
            text="nothing ran before the first repeat: start-up costs are part of it",
            cure="--warmups 1",
        )


def other_choice(record: Record) -> Iterator[Finding]:
    """Something other than the usual choice runs, and the engine says why."""
    for reason in record.loaded.reasons if record.loaded else ():
        yield Finding(code="other_choice", severity=Severity.NOTE, text=reason, cure="see the reason")


def not_finite(record: Record) -> Iterator[Finding]:
    """The model computes numbers: overflow takes other paths through the sampler and proves nothing."""
    if record.loaded and record.loaded.finite_logits is False:
        yield Finding(
            code="not_finite",
            severity=Severity.INVALID,
            text="the logits of a short prompt are not all finite",
            cure="check the weights; --dtype bfloat16 reaches further than float16",
        )


def other_answer(record: Record) -> Iterator[Finding]:
    """Another engine's answer begins with the same token."""
    if record.agreement and record.agreement.compared and not record.agreement.agreed:
        yield Finding(
            code="other_answer",
            severity=Severity.DOUBTFUL,
            text=f"the first token is not the one that {record.agreement.engine} chose for the same prompt",
            cure="see whether --dtype float32 agrees; if not, one of the engines computes something else",
        )


def clocks(record: Record) -> Iterator[Finding]:
    """The clock of the measurement and the clock of the system saw the same time pass from first to last."""
    for process in range(record.cell.protocol.processes):
        requests = [sample for sample in (*record.warmups, *record.samples) if sample.process == process]
        if not requests:
            continue
        first, last = requests[0], requests[-1]
        if first.started_at_s is None or last.started_at_s is None or last.ended_at_unix_s is None:
            continue
        measured_s = last.started_at_s + last.duration_s - first.started_at_s
        system_s = last.ended_at_unix_s - first.started_at_unix_s
        apart_s = abs(system_s - measured_s)
        apart = max(0.0, apart_s - CLOCKS_RESOLUTION_S) / measured_s if measured_s > 0 else 0.0
        if apart > CLOCKS_DOUBTFUL:
            yield Finding(
                code="clocks",
                severity=Severity.INVALID if apart > CLOCKS_INVALID else Severity.DOUBTFUL,
                text=f"{measured_s:.3f} s by the measurement's clock are {system_s:.3f} s by the system's",
                cure="measure again while nothing sets the clock and the machine does not sleep",
            )


def faster_when_repeated(record: Record) -> Iterator[Finding]:
    """A prompt sent before is not read faster than one of the same length that is new."""
    if record.audit is None:
        return
    repeated_s, distinct_s = record.audit.repeated_s, record.audit.distinct_s
    repeated, distinct = statistics.median(repeated_s), statistics.median(distinct_s)
    if repeated < (1 - CACHED) * distinct and max(repeated_s) < min(distinct_s):
        yield Finding(
            code="faster_when_repeated",
            severity=Severity.INVALID,
            text=(
                f"first token after {repeated:.4g} s for a prompt sent before, {distinct:.4g} s for a new one: "
                f"{_percent(1 - repeated / distinct)} faster"
            ),
            cure="switch off whatever caches prompts",
        )


def slow_first_repeat(record: Record) -> Iterator[Finding]:
    """The first repeat of a process took no longer than the others let expect."""
    for process, times_s in _durations(record).items():
        if _slow_first(times_s):
            yield Finding(
                code="slow_first_repeat",
                severity=Severity.DOUBTFUL,
                text=f"{_name(record, process, 0)} took {_against(times_s[0], times_s[1:])}",
                cure=f"--warmups {record.cell.protocol.warmups + 1}",
            )


def outliers(record: Record) -> Iterator[Finding]:
    """Repeats far from all others are named; they stay in every figure. A slow first one has a rule of its own."""
    for process, times_s in _durations(record).items():
        skipped = 1 if _slow_first(times_s) else 0
        for index in range(skipped, len(times_s)):
            others_s = times_s[skipped:index] + times_s[index + 1 :]
            if _surprising(times_s[index], others_s, FALSE_ALARMS / len(times_s)):
                yield Finding(
                    code="outlier",
                    severity=Severity.NOTE,
                    text=f"{_name(record, process, index)} took {_against(times_s[index], others_s)}",
                    cure="see what else ran then; it is part of every figure",
                )


def trend(record: Record) -> Iterator[Finding]:
    """The repeats don't get slower or faster one after the other."""
    speeds, word = _speeds(record)
    if len(speeds) < INTERVAL_REPEATS or dependence(speeds) != "trend":
        return
    slope, _ = statistics.linear_regression(range(len(speeds)), speeds)
    change = slope * (len(speeds) - 1) / statistics.fmean(speeds)
    sure = float(trend_p(speeds)) < FALSE_ALARMS and abs(change) > MATERIAL
    direction = "rises" if change > 0 else "falls"
    yield Finding(
        code="trend",
        severity=Severity.DOUBTFUL if sure else Severity.NOTE,
        text=f"the speed {direction} by {_percent(abs(change))} over {len(speeds)} {word}: no interval would be honest",
        cure="more --warmups, or see what changes: temperature, clocks, other work",
    )


def likeness(record: Record) -> Iterator[Finding]:
    """A repeat does not depend on the one before it."""
    speeds, word = _speeds(record)
    if len(speeds) < INTERVAL_REPEATS or dependence(speeds) != "likeness":
        return
    chance = _percent(float(likeness_p(speeds)))
    yield Finding(
        code="likeness",
        severity=Severity.NOTE,
        text=f"{word} are like their neighbours (by chance in {chance} of runs): no interval would be honest",
        cure=f"--processes {INTERVAL_PROCESSES}: fresh processes don't depend on each other",
    )


def dependent_parts(record: Record) -> Iterator[Finding]:
    """What has no interval although the speed has one is named."""
    summary = record.summary
    if summary is None or summary.generation_tokens_per_s.interval is None:
        return
    parts = {"time to first token": summary.time_to_first_token_s, "decode rate": summary.decode_tokens_per_s}
    for name, quantity in parts.items():
        if quantity and quantity.interval is None:
            yield Finding(
                code="dependent_part",
                severity=Severity.NOTE,
                text=f"the {name} has a trend or depends on the request before: no interval would be honest",
                cure="more --repeats",
            )


def two_timings(record: Record) -> Iterator[Finding]:
    """The repeats are around one time, not around two."""
    times_s = [time_s for times_s in _durations(record).values() for time_s in times_s]
    if len(times_s) < TWO_TIMINGS_REPEATS or float(split_share(times_s)) <= TWO_TIMINGS_SHARE:
        return
    fast, slow = two_groups(times_s)
    fast_s, slow_s = statistics.fmean(fast), statistics.fmean(slow)
    if slow_s > (1 + MATERIAL) * fast_s:
        yield Finding(
            code="two_timings",
            severity=Severity.DOUBTFUL,
            text=f"{len(fast)} repeats took {fast_s:.4g} s and {len(slow)} took {slow_s:.4g} s: the mean is neither",
            cure="see what changes between them: clocks, other work, where memory lies",
        )


def few_repeats(record: Record) -> Iterator[Finding]:
    """An interval needs enough repeats, or enough processes."""
    speeds, word = _speeds(record)
    needed = INTERVAL_PROCESSES if word == "processes" else INTERVAL_REPEATS
    if 0 < len(speeds) < needed:
        yield Finding(
            code="few_repeats",
            severity=Severity.NOTE,
            text=f"{len(speeds)} {word} are too few for an honest interval",
            cure=f"--{word} {needed}",
        )


def wide_interval(record: Record) -> Iterator[Finding]:
    """The speed is known well enough to be compared."""
    if record.summary is None:
        return
    speed = record.summary.generation_tokens_per_s
    width = half_width(speed)
    if width is not None and width > WIDE:
        yield Finding(
            code="wide_interval",
            severity=Severity.DOUBTFUL,
            text=f"the speed is known to ±{_percent(width)} only",
            cure="--precision 1%, on a machine that does nothing else",
        )
    if width is None and speed.maximum - speed.minimum > 2 * WIDE * speed.mean:
        yield Finding(
            code="wide_spread",
            severity=Severity.DOUBTFUL,
            text=f"the speeds of the repeats go from {speed.minimum:.4g} to {speed.maximum:.4g} tokens/s",
            cure="--precision 1%, on a machine that does nothing else",
        )


def precision(record: Record) -> Iterator[Finding]:
    """The precision that was asked for is reached."""
    wanted = record.cell.protocol.precision
    if wanted is None or record.summary is None:
        return
    speeds, word = _speeds(record)
    width = half_width(record.summary.generation_tokens_per_s)
    if width is None or width > wanted:
        reached = "no interval is there" if width is None else f"it is ±{_percent(width)}"
        yield Finding(
            code="precision_not_reached",
            severity=Severity.DOUBTFUL,
            text=f"±{_percent(wanted)} was asked for; after {len(speeds)} {word} {reached}",
            cure="--max_repeats or --max_seconds higher, or --precision wider",
        )


def busy_gpu(record: Record) -> Iterator[Finding]:
    """Nobody used the GPUs before the load."""
    for reason in record.busy:
        yield Finding(
            code="busy_gpu",
            severity=Severity.DOUBTFUL,
            text=f"before the load {reason}",
            cure="end it, or --wait_idle SECONDS",
        )


def other_load(record: Record) -> Iterator[Finding]:
    """Other programs left the processor alone during the repeats."""
    seen = [sample.readings.other_cores for sample in record.samples if sample.readings]
    means = [cores.mean for cores in seen if cores]
    allowed = max(OTHER_CORES, OTHER_SHARE * record.machine.cores)
    disturbed = [mean for mean in means if mean > allowed]
    if disturbed:
        yield Finding(
            code="other_load",
            severity=Severity.DOUBTFUL,
            text=(
                f"other programs kept up to {max(disturbed):.2g} of {record.machine.cores} cores busy "
                f"during {len(disturbed)} of {len(means)} repeats"
            ),
            cure="measure again while nothing else runs",
        )


def foreign_process(record: Record) -> Iterator[Finding]:
    """No other program was on the GPUs during the repeats."""
    seen = {
        (gpu.index, process)
        for sample in record.samples
        if sample.readings
        for gpu in sample.readings.gpus
        for process in gpu.foreign_processes
    }
    for index, process in sorted(seen):
        yield Finding(
            code="foreign_process",
            severity=Severity.DOUBTFUL,
            text=f"process {process} was on GPU {index} during the repeats",
            cure="measure again once it has ended",
        )


def foreign_memory(record: Record) -> Iterator[Finding]:
    """Nobody else took or gave back the GPUs' memory, from the load to the last repeat."""
    outside = [taken for taken in (_outside_bytes(sample.memory) for sample in record.samples) if taken is not None]
    if not outside:
        return
    change = max(outside) - min(outside)
    at_load = _outside_bytes(record.load_memory) if record.load_memory else None
    since_load = 0 if at_load is None else max(abs(taken - at_load) for taken in outside)
    if change > FOREIGN_BYTES or since_load > LATE_BYTES:
        change = max(change, since_load)
        yield Finding(
            code="foreign_memory",
            severity=Severity.DOUBTFUL,
            text=f"what others have of the GPUs' memory changed by {change / 2**30:.2g} GiB",
            cure="measure again while nobody else uses the GPUs",
        )


def host_memory(record: Record) -> Iterator[Finding]:
    """Other programs left the host's memory as it was, and there was enough of it."""
    seen = [sample.readings.other_memory_bytes for sample in record.samples if sample.readings]
    most = max((taken.maximum for taken in seen if taken), default=None)
    if most is None:
        return
    all_bytes = record.machine.memory_bytes
    grown = most - (all_bytes - record.machine_before.memory_available_bytes)
    own = max((sample.memory.host_peak_rss_bytes or 0 for sample in record.samples), default=0)
    if grown > max(HOST_GROWTH_BYTES, HOST_GROWTH * all_bytes):
        yield Finding(
            code="host_memory_taken",
            severity=Severity.DOUBTFUL,
            text=f"other programs took {grown / 2**30:.2g} GiB of the host's memory meanwhile",
            cure="measure again while nothing else runs",
        )
    if most + own > HOST_FULL * all_bytes:
        yield Finding(
            code="host_memory_short",
            severity=Severity.DOUBTFUL,
            text=f"the host's memory of {all_bytes / 2**30:.3g} GiB was all but full: it may have swapped",
            cure="end other programs",
        )


def throttled(record: Record) -> Iterator[Finding]:
    """The GPUs' clocks were not held down."""
    reasons = {
        reason
        for sample in record.samples
        if sample.readings
        for gpu in sample.readings.gpus
        for reason in gpu.throttle_reasons
    }
    for reason in sorted(reasons):
        yield Finding(
            code="throttled",
            severity=Severity.DOUBTFUL if reason in HELD_DOWN else Severity.NOTE,
            text=f"the driver lowered the GPU's clock during the repeats: {reason}",
            cure="see to its cooling and its power" if reason in HELD_DOWN else "compare at the same limits only",
        )


def above_roofline(record: Record) -> Iterator[Finding]:
    """No phase was faster than the device can be."""
    if record.roofline is None or record.rates is None or record.roofline.fastest_share <= 1:
        return
    share = f"{100 * record.roofline.fastest_share:.4g} %"
    disturbed = not record.gpus and record.rates.other_cores > OTHER_CORES
    yield Finding(
        code="above_roofline",
        severity=Severity.DOUBTFUL if disturbed else Severity.INVALID,
        text=(
            f"{share} of what the device was measured to do at best"
            + (", and that was measured beside other work" if disturbed else ": something was not computed")
        ),
        cure="speed-benchmark machine --again, while nothing else runs" if disturbed else "report it",
    )


def not_profiled(record: Record) -> Iterator[Finding]:
    """The pass under the profiler said how busy the device was."""
    if record.profile and record.profile.error:
        yield Finding(
            code="not_profiled",
            severity=Severity.NOTE,
            text=f"how busy the GPU was is not known: {record.profile.error}",
            cure="see the reason",
        )


def predicted(record: Record) -> Iterator[Finding]:
    """Figures that come from a part of the output say so, and whether the whole may go at another pace."""
    if record.summary and record.summary.predicted:
        guess = "; the host binds this cell, and its pace may change meanwhile: no interval would be honest"
        yield Finding(
            code="predicted",
            severity=Severity.DOUBTFUL if _guessed(record) else Severity.NOTE,
            text="predicted from windows at the start and the end of the output" + (guess if _guessed(record) else ""),
            cure="leave --quick out to measure all of it",
        )


def _asked_tokens(cell: Cell, sample: Sample) -> tuple[int, int]:
    """How many tokens a request of `cell` was to take in and to give out."""
    context, generate = cell.workload.context_length, cell.workload.generate_length
    match sample.window:
        case "start":
            return context, QUICK_WINDOW_TOKENS
        case "end":
            return context + generate - QUICK_WINDOW_TOKENS, QUICK_WINDOW_TOKENS
        case None:
            return context, generate


def _guessed(record: Record) -> bool:
    """Whether the windows of a quick measurement say little about the rest: a host changes its pace within seconds."""
    return record.cell.protocol.quick and record.roofline is not None and record.roofline.binds == "host"


def _outside_bytes(memory: Memory) -> int | None:
    """What of the GPUs' memory is not the worker's, or where that is not told, not its allocator's."""
    own = memory.process_device_bytes
    own = memory.allocator_reserved_bytes if own is None else own
    return None if memory.device_used_bytes is None else memory.device_used_bytes - (own or 0)


def _durations(record: Record) -> dict[int, list[float]]:
    """Process -> the times of its whole requests, in order; empty without a summary."""
    found: dict[int, list[float]] = {}
    if record.summary:
        for request in whole_requests(record.samples, record.cell):
            found.setdefault(request.process, []).append(request.duration_s)
    return found


def _speeds(record: Record) -> tuple[list[float], str]:
    """The speeds that an interval may rest on, and whether they are of repeats or of processes."""
    if record.summary is None:
        return [], "repeats"
    speeds, of_processes = units(whole_requests(record.samples, record.cell), generation_tokens_per_s)
    return speeds, "processes" if of_processes else "repeats"


def _slow_first(times_s: Sequence[float]) -> bool:
    return times_s[0] > statistics.fmean(times_s) and _surprising(times_s[0], times_s[1:], 2 * FALSE_ALARMS)


def _surprising(time_s: float, others_s: Sequence[float], chance: float) -> bool:
    """Whether a time differs from the others by more than `chance` explains and by enough to matter."""
    if len(others_s) < 2:
        return False
    usual_s = statistics.fmean(others_s)
    return abs(time_s - usual_s) > MATERIAL * usual_s and float(surprise_p(time_s, others_s)) < chance


def _name(record: Record, process: int, index: int) -> str:
    where = f"process {process + 1}, " if record.cell.protocol.processes > 1 else ""
    return f"{where}repeat {index + 1}"


def _against(time_s: float, others_s: Sequence[float]) -> str:
    return f"{time_s:.4g} s, the others {statistics.fmean(others_s):.4g} s on average"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _cast(record: Record) -> bool:
    """Whether another type of unquantised weights was asked for."""
    plain = {"BF16", "FP16", "FP32"}
    assert record.loaded is not None  # noqa: S101 - asked by the caller
    assert record.checkpoint is not None  # noqa: S101
    return (
        record.cell.settings.dtype != "auto"
        and record.checkpoint.quantization in plain
        and record.loaded.quantization in plain
    )


def shared_host(record: Record) -> Iterator[Finding]:
    """Nothing else ran on the machine that shares its processor, its memory or its power."""
    share = record.share
    if share and share.workers_beside:
        bound = f"bound to {share.cores} cores" if share.cores else "not bound to cores of its own"
        yield Finding(
            code="shared_host",
            severity=Severity.NOTE if share.cores >= ENOUGH_CORES else Severity.DOUBTFUL,
            text=f"ran beside {share.workers_beside} other workers, {bound}; they share memory, power and cooling",
            cure="measure without --parallel to be sure",
        )


RULES: tuple[Rule, ...] = (
    token_counts,
    token_times,
    missing_repeats,
    weight_format,
    cached_prompt,
    faster_when_repeated,
    not_finite,
    other_answer,
    clocks,
    no_warmup,
    slow_first_repeat,
    trend,
    likeness,
    two_timings,
    outliers,
    few_repeats,
    wide_interval,
    precision,
    dependent_parts,
    predicted,
    above_roofline,
    busy_gpu,
    foreign_process,
    foreign_memory,
    other_load,
    host_memory,
    throttled,
    not_profiled,
    other_choice,
    shared_host,
)
