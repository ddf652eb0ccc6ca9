"""The readings of the sampler that fall into one request: its process, and a pure function that sums them up."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from speed_benchmark.machine import nvml
from speed_benchmark.record.sample import Energy, GpuReadings, Range, Readings, Sample

Row = dict[str, Any]

# A window's edges lie between readings: with so many inside it, both together matter for less than a tenth.
ENOUGH_READINGS = 10
# The kernel counts processor time in ticks of 1 to 10 ms a core: shorter times would show the ticks.
CORES_PERIOD_S = 1.0
_ANSWER_S = 5.0


class Sampler:
    """The sampler's process: it reads from now on, until `end` or until this process dies."""

    def __init__(self, gpus: Sequence[int], environment: dict[str, str]) -> None:
        self._started_at_s = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", "speed_benchmark.machine.sampler", *map(str, gpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )

    def readings(self, sample: Sample) -> Readings | None:
        """What it saw during `sample`; None where it has stopped, or the sample's clock is not the machine's."""
        if sample.started_at_s is None or not sample.is_timed:
            return None
        start_s, end_s = sample.started_at_s, sample.started_at_s + sample.duration_s
        if not self._started_at_s <= start_s < end_s <= time.perf_counter():
            return None
        rows = self._ask(start_s, end_s)
        return summarize(rows, start_s, start_s + sample.first_token_s, end_s, sample.output_tokens)

    def end(self) -> None:
        """End the process; safe to call twice."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):  # in a driver's hands
            self._process.wait(timeout=_ANSWER_S)

    def _ask(self, start_s: float, end_s: float) -> list[Row]:
        """The readings of a window; none from a process that has ended or does not answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - both were asked for
        assert stdout is not None  # noqa: S101
        if self._process.poll() is not None:
            return []
        try:
            stdin.write(f"{start_s!r} {end_s!r}\n".encode())
            stdin.flush()
            answer, give_up = b"", time.monotonic() + _ANSWER_S
            while not answer.endswith(b"\n"):
                if not select.select([stdout], [], [], max(0.0, give_up - time.monotonic()))[0]:
                    raise TimeoutError
                chunk = os.read(stdout.fileno(), 1 << 20)
                if not chunk:
                    return []
                answer += chunk
        except (BrokenPipeError, TimeoutError):
            self._process.kill()  # a late answer would be taken for the next one
            return []
        rows: list[Row] = json.loads(answer)
        return rows


def summarize(rows: Sequence[Row], start_s: float, first_s: float, end_s: float, tokens: int) -> Readings | None:
    """The window from `start_s` over the first token at `first_s` to `end_s`, in which `tokens` were generated.

    `rows` are readings of the sampler in order of time. Returns None unless they reach beyond the window at both ends.
    """
    if not rows or rows[0]["at_s"] > start_s or rows[-1]["at_s"] < end_s:
        return None
    inside = [row for row in rows if start_s <= row["at_s"] <= end_s]
    seen = inside or [min(rows, key=lambda row: abs(row["at_s"] - (start_s + end_s) / 2))]
    return Readings(
        count=len(inside),
        other_cores=_rate(rows, start_s, end_s),
        other_memory_bytes=_range(row["other_bytes"] for row in seen),
        cpu_frequency_mhz=_range(row["frequency_mhz"] for row in seen),
        gpus=tuple(_gpu([row["gpus"][number] for row in seen]) for number in range(len(rows[0]["gpus"]))),
        energy=_energy(rows, start_s, first_s, end_s, tokens),
    )


def _gpu(seen: Sequence[Row]) -> GpuReadings:
    bits = 0
    for row in seen:
        bits |= row["throttle"]
    quantities = {
        name: _range(row[name] for row in seen)
        for name in (
            *("sm_clock_mhz", "memory_clock_mhz", "temperature_c", "power_w", "utilization_percent"),
            "memory_used_bytes",
        )
    }
    return GpuReadings(
        index=seen[0]["index"],
        throttle_reasons=tuple(name for bit, name in nvml.THROTTLE_REASONS.items() if bits & bit),
        foreign_processes=tuple(sorted({name for row in seen for name in row["foreign"]})),
        **quantities,
    )


def _range(values: Iterable[float | None]) -> Range | None:
    known = [value for value in values if value is not None]
    return Range(minimum=min(known), mean=sum(known) / len(known), maximum=max(known)) if known else None


def _rate(rows: Sequence[Row], start_s: float, end_s: float) -> Range:
    """How fast `other_s` grew, in periods of at least CORES_PERIOD_S."""
    periods = max(1, int((end_s - start_s) / CORES_PERIOD_S))
    moments = [start_s + (end_s - start_s) * number / periods for number in range(periods + 1)]
    values = [_at(rows, moment, lambda row: float(row["other_s"])) for moment in moments]
    rates = [max(0.0, (after - before) / (end_s - start_s) * periods) for before, after in pairwise(values)]
    return Range(minimum=min(rates), mean=sum(rates) / len(rates), maximum=max(rates))


def _energy(rows: Sequence[Row], start_s: float, first_s: float, end_s: float, tokens: int) -> Energy | None:
    gpus = range(len(rows[0]["gpus"]))
    if not gpus:
        return None
    counted = all(row["gpus"][gpu]["energy_j"] is not None for row in rows for gpu in gpus)
    counted = counted and all(rows[-1]["gpus"][gpu]["energy_j"] > rows[0]["gpus"][gpu]["energy_j"] for gpu in gpus)
    if not counted and any(row["gpus"][gpu]["power_w"] is None for row in rows for gpu in gpus):
        return None
    used_j = list(rows) if counted else _integrated(rows)

    def at(moment: float) -> float:
        return _at(used_j, moment, lambda row: float(sum(gpu["energy_j"] for gpu in row["gpus"])))

    def enough(from_s: float, to_s: float) -> bool:
        return len([row for row in rows if from_s <= row["at_s"] <= to_s]) >= ENOUGH_READINGS

    total_j = at(end_s) - at(start_s)
    return Energy(
        source="counter" if counted else "power",
        total_joules=total_j,
        prefill_joules=at(first_s) - at(start_s) if enough(start_s, first_s) else None,
        decode_joules=at(end_s) - at(first_s) if enough(first_s, end_s) else None,
        per_generated_token_joules=total_j / tokens if tokens else None,
        too_coarse=not enough(start_s, end_s),
    )


def _integrated(rows: Sequence[Row]) -> list[Row]:
    """The rows with the power readings added up over time where the energy counter would be."""
    energies_j = [0.0] * len(rows[0]["gpus"])
    found = []
    for before, row in pairwise([rows[0], *rows]):
        for gpu, reading in enumerate(row["gpus"]):
            mean_w = (before["gpus"][gpu]["power_w"] + reading["power_w"]) / 2
            energies_j[gpu] += mean_w * (row["at_s"] - before["at_s"])
        found.append({"at_s": row["at_s"], "gpus": [{"energy_j": energy_j} for energy_j in energies_j]})
    return found


def _at(rows: Sequence[Row], moment_s: float, value: Callable[[Row], float]) -> float:
    """The value at a moment between two readings, on the line between them."""
    after = next(index for index, row in enumerate(rows) if row["at_s"] >= moment_s)
    if after == 0 or rows[after]["at_s"] == moment_s:
        return value(rows[after])
    before_row, after_row = rows[after - 1], rows[after]
    share: float = (moment_s - before_row["at_s"]) / (after_row["at_s"] - before_row["at_s"])
    return value(before_row) + share * (value(after_row) - value(before_row))
