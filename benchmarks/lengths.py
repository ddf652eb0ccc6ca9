"""What a record says of the same model at another input length, held against the record of that length.

Decoding is predicted by the line through the record's own gaps (`judge/depth.py`): its mean gap, and its slope with the
position. Prefill is the operations of the prompt at the share of the matrix rate that was measured, and never less than
a step: the record's own share where its prompt is long enough to have one, else the highest of other models with this
engine on such devices (small models leave the device idle).

Printed for each pair of records of one model, weight format, engine and settings on the same kind of device: the
generation speed predicted and measured. What the host paces is listed apart: there the slope is the host's, and another
host is another speed. Exits 1 where a pair that the device paces is off by more than 3 %, or there is none.

usage: lengths.py DIR...
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speed_benchmark.judge import work
from speed_benchmark.judge.depth import is_device_paced, line
from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Judgement
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store

LARGEST_ERROR = 0.03
# Shorter prompts don't fill the device: their share of the matrix rate is that of their length alone.
PREFILL_TOKENS = 4096


@dataclass(frozen=True)
class Measured:
    """A full record that has a speed."""

    record: Record
    judgement: Judgement

    @property
    def speed(self) -> float:
        """Its generation speed."""
        assert self.judgement.summary is not None
        return self.judgement.summary.generation_tokens_per_s.mean

    @property
    def device_paced(self) -> bool:
        """Whether the device sets its pace."""
        limits = self.judgement.roofline
        return limits is not None and is_device_paced(self.record, limits)

    @property
    def prefill_share(self) -> float | None:
        """The share of the matrix rate that its prefill reached; None of a short prompt."""
        workload = self.record.cell.workload
        long_enough = workload.batch_size * workload.context_length >= PREFILL_TOKENS
        return self.judgement.roofline.mfu if self.judgement.roofline and long_enough else None

    @property
    def device(self) -> tuple[str, ...]:
        """The kind of its devices: the GPUs, or the processor where there is none."""
        machine = self.record.machine
        return tuple(gpu.name for gpu in machine.gpus) or (machine.processor, str(machine.usable_cores))

    def answers_for(self, other: "Measured") -> bool:
        """Whether the other differs in its lengths alone."""
        one, its_other = self.record.cell, other.record.cell
        return (
            (one.model, one.settings, self.device) == (its_other.model, its_other.settings, other.device)
            and one.workload.batch_size == its_other.workload.batch_size
            and one.workload.sampling == its_other.workload.sampling
            and one.workload.context_length != its_other.workload.context_length
        )


def measured(folders: Sequence[Path]) -> list[Measured]:
    """The full records in `folders` that have a speed and limits."""
    found = [record for folder in folders for _, record in Store(folder).records() if isinstance(record, Record)]
    judged = [
        Measured(record, judge(record))
        for record in found
        if record.outcome is Outcome.OK and not record.cell.protocol.quick
    ]
    return [one for one in judged if one.judgement.summary and one.judgement.roofline]


def predicted(source: Measured, target: Measured, share: float) -> float | None:
    """The generation speed of `target`'s cell by `source`; None of one whose output is too short."""
    record, workload = source.record, target.record.cell.workload
    cost, peaks, found = record.token_cost, record.device_peaks, line(record)
    if found is None or cost is None or peaks is None:
        return None
    prompt, batch = workload.context_length, workload.batch_size
    attention_flops = work.prompt_attention_flops(cost, prompt)
    flops = batch * (cost.prefill_flops * (prompt - 1) + cost.flops + attention_flops)
    positions = prompt + np.arange(1, workload.generate_length)
    prefill_s = max(flops / (share * peaks.flops_per_s * cost.devices_at_once), float(found.gap_at(prompt)))
    return batch * workload.generate_length / (prefill_s + float(found.gap_at(positions).sum()))


def share_for(source: Measured, target: Measured, all_of_them: Sequence[Measured]) -> float | None:
    """The share of the matrix rate for the prompts of `target`, which has no say in it."""
    if source.prefill_share is not None:
        return source.prefill_share
    others = [
        one.prefill_share
        for one in all_of_them
        if one.prefill_share is not None
        and one.device == source.device
        and one.record.cell.settings.engine == source.record.cell.settings.engine
        and one.record.cell.model != target.record.cell.model
    ]
    return max(others, default=None)


def pairs(records: Sequence[Measured]) -> Iterator[tuple[Measured, Measured, float]]:
    """Each record, another of the same model at another length, and the error of the speed that the first predicts."""
    for source in records:
        for target in records:
            if not source.answers_for(target):
                continue
            share = share_for(source, target, records)
            speed = None if share is None else predicted(source, target, share)
            if speed is not None:
                yield source, target, speed / target.speed - 1


def told(source: Measured, target: Measured, error: float) -> str:
    """One pair, in a line."""
    cell, batch = source.record.cell, source.record.cell.workload.batch_size
    lengths = f"{cell.workload.context_length} -> {target.record.cell.workload.context_length}"
    ids = f"{source.record.record_id[7:15]} -> {target.record.record_id[7:15]}"
    speeds = f"predicted {(1 + error) * target.speed:.2f}, measured {target.speed:.2f} tokens/s, error {error:+.2%}"
    many = f" x {batch}" if batch > 1 else ""
    return f"{cell.settings.engine}, {cell.model.model_id_or_path}{many}, input {lengths} ({ids}): {speeds}"


def main() -> int:
    """Print all pairs; returns whether those that the device paces are near enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    found = list(pairs(measured(parser.parse_args().folders)))
    device = [pair for pair in found if pair[0].device_paced]
    host = [pair for pair in found if not pair[0].device_paced]
    for name, some in (("paced by the device", device), ("paced by the host", host)):
        errors = [abs(error) for _, _, error in some]
        most = f", errors up to {max(errors):.2%}, median {statistics.median(errors):.2%}" if errors else ""
        print(f"{name}: {len(some)} pairs{most}")
        for pair in some:
            print(f"  {told(*pair)}")
    return int(not device or any(abs(error) > LARGEST_ERROR for _, _, error in device))


if __name__ == "__main__":
    sys.exit(main())
