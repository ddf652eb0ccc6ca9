"""One measured request: the same timed call for every engine."""

from speed_benchmark.cell import digest
from speed_benchmark.engines.protocol import Engine, Request
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.record.record import FIRST_TOKENS, Sample


def measure(engine: Engine, request: Request, memory: MemoryReader, token_times: list[float]) -> Sample:
    """Run `request` and time it; `token_times` is filled as the tokens come, so that others can watch.

    The clock runs from before the call, with the device idle, until the device has finished after it.
    """
    clock = engine.clock
    engine.prepare(request)
    memory.reset()
    clock.synchronize()
    started_at_unix_s = clock.unix()
    start = clock.now()
    output = engine.generate(lambda: token_times.append(clock.now()))
    clock.synchronize()
    end = clock.now()
    ended_at_unix_s = clock.unix()
    return Sample(
        started_at_unix_s=started_at_unix_s,
        ended_at_unix_s=ended_at_unix_s,
        started_at_s=start,
        duration_s=round(end - start, 9),
        token_times_s=tuple(round(moment - start, 9) for moment in token_times),
        prompt_tokens=len(request.prompt_token_ids),
        output_tokens=len(output),
        output_digest=digest(list(output)),
        first_token_ids=tuple(output[:FIRST_TOKENS]),
        cached_tokens=engine.cached_tokens,
        memory=memory.read(),
    )
