"""Does `compare` call the same thing different?

One loaded model answers the same cell again and again; each record is compared with the one after it, as `compare`
would two folders. Prints each pair's ratio with its interval, and how many pairs were called faster or slower; exits 1
where that is more than 5 % beyond chance: where 5 % could not explain it with 95 % confidence. The machine must do
nothing else.

usage: aa.py [--engine transformers|vllm] [--model ID_OR_PATH] [--context N] [--generate N] [--pairs N] [--gpu]
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from speed_benchmark.cell import Cell, Model, Protocol, Workload
from speed_benchmark.judge.judge import judged
from speed_benchmark.record.folder import read
from speed_benchmark.record.store import Store
from speed_benchmark.report.compare import Change, compare, measured
from speed_benchmark.run.interrupt import Interrupt
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.observer import NullObserver
from speed_benchmark.run.plan import LoadGroup, for_engine
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.sweep import run_sweep


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--context", type=int, default=16)
    parser.add_argument("--generate", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--gpu", action="store_true")
    asked = parser.parse_args()

    given: dict[str, Any] = {"max_model_len": asked.context + asked.generate} if asked.engine == "vllm" else {}
    cell = Cell(
        model=Model(model_id_or_path=asked.model, weights="synthetic"),
        workload=Workload(context_length=asked.context, generate_length=asked.generate),
        settings=for_engine(asked.engine, given, gpu_count=int(asked.gpu)),
        protocol=Protocol(repeats=asked.repeats, warmups=1),
    )
    group = LoadGroup((cell,) * (2 * asked.pairs), (0,) if asked.gpu else ())
    policy, limits = Policy(retry="all"), Limits(no_profile=True)
    with tempfile.TemporaryDirectory() as folder, Interrupt() as interrupt:
        store = Store(Path(folder))
        store.open()
        stored = run_sweep([group], store, policy, limits, NullObserver(), interrupt)
        records = [read(one.path) for one in stored]
    records.sort(key=lambda record: record.samples[0].started_at_unix_s)
    changes = []
    for before, after in zip(records[::2], records[1::2], strict=True):
        sides = [measured(judged(before))], [measured(judged(after))]
        (pair,) = compare(*sides, across=frozenset({"machine"}), threshold=0).cells
        if pair.ratio and pair.ratio.low is not None:
            changes.append(pair.change)
        ratio, reasons = pair.ratio, " ".join(reason.code for reason in pair.reasons)
        interval = f"{ratio.low:.4f} to {ratio.high:.4f}" if ratio and ratio.low and ratio.high else reasons
        print(f"{ratio.value if ratio else float('nan'):.4f}  {interval}  {pair.change}", flush=True)
    different = sum(change in (Change.FASTER, Change.SLOWER) for change in changes)
    print(f"{len(records) // 2} pairs, {len(changes)} with an interval, {different} called different")
    return int(not changes or binomtest(different, len(changes), 0.05, alternative="greater").pvalue < 0.05)


if __name__ == "__main__":
    sys.exit(main())
