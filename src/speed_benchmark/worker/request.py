"""One measured request: the same timed call for every engine."""

from collections.abc import Sequence

from speed_benchmark.cell import digest
from speed_benchmark.engines.protocol import Request, Running
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.record import sample
from speed_benchmark.record.sample import FIRST_TOKENS, Sample

TokenTimes = Sequence[list[float]]


def no_times(request: Request) -> TokenTimes:
    """An empty list for the times of each sequence's tokens."""
    return [[] for _ in request.prompts]


def measure_request(running: Running, request: Request, memory: MemoryReader, token_times: TokenTimes) -> Sample:
    """Run `request` and time it; `token_times`, a list for each sequence, fill as the tokens come, for others to watch.

    The clock runs from before the call, with the device idle, until the device has finished after it.
    """
    clock = running.clock
    running.prepare(request)
    memory.reset()
    clock.synchronize()
    started_at_unix_s = clock.unix()
    start = clock.now()
    outputs = running.generate(lambda sequence: token_times[sequence].append(clock.now()))
    clock.synchronize()
    end = clock.now()
    ended_at_unix_s = clock.unix()
    return Sample(
        started_at_unix_s=started_at_unix_s,
        ended_at_unix_s=ended_at_unix_s,
        started_at_s=start,
        duration_s=round(end - start, 9),
        sequences=tuple(
            _sequence(prompt, output, times, start)
            for prompt, output, times in zip(request.prompts, outputs, token_times, strict=True)
        ),
        cached_tokens=running.cached_tokens,
        memory=memory.read(),
    )


def _sequence(prompt: Sequence[int], output: Sequence[int], times: list[float], start: float) -> sample.Sequence:
    return sample.Sequence(
        token_times_s=tuple(round(moment - start, 9) for moment in times),
        prompt_tokens=len(prompt),
        output_tokens=len(output),
        output_digest=digest(list(output)),
        first_token_ids=tuple(output[:FIRST_TOKENS]),
    )
