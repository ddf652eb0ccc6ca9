"""Is `minimum_to_run_bytes` what a cell needs? On a GPU: with 5 % more it runs, with 10 % less it does not.

Measures the cell once as it is, then with the device's memory limited to both figures. transformers gets the limit
through PyTorch's allocator (`per_process_memory_fraction`); vLLM, which reserves its memory, through
`--gpu_memory_utilization`, to which is added what the first run had on the device beside the allocator. Prints one line
per run; exits 1 where a figure does not hold.

usage: memory_limit.py transformers|vllm [--model ID] [--context N] [--generate N] [--gpu N]
"""

import argparse
import os
import subprocess
import sys
import tempfile

from speed_benchmark.judge.judge import judge
from speed_benchmark.record.format import parse
from speed_benchmark.record.outcome import Outcome
from speed_benchmark.record.record import Record

MORE, LESS = 1.05, 0.90


def measure(asked: argparse.Namespace, *options: str, **environment: str) -> Record:
    """The record of one run of the cell."""
    total = asked.context + asked.generate
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "speed_benchmark", "run", "--engine", asked.engine, "--weights", "synthetic"),
                *("--model_id_or_path", asked.model, "--context_length", str(asked.context)),
                *("--generate_length", str(asked.generate), "--repeats", "1", "--gpus", str(asked.gpu)),
                *(("--max_model_len", str(total)) if asked.engine == "vllm" else ()),
                *("--outputs_dir", folder, "--json", "--quiet", "--no_skip", "--no_profile", *options),
            ],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            check=False,
        )
    return parse(done.stdout)


def beside_allocator(record: Record) -> int:
    """What a run had on its GPU once the model was loaded, its allocator's memory and what was there before aside."""
    memory, before = record.load_memory, record.machine_before.gpus[0].memory_used_bytes
    assert memory is not None
    assert memory.device_used_bytes is not None
    assert memory.allocator_reserved_bytes is not None
    assert before is not None
    return memory.device_used_bytes - memory.allocator_reserved_bytes - before


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=("transformers", "vllm"))
    parser.add_argument("--model", default="Qwen/Qwen2.5-7B-Instruct")
    parser.add_argument("--context", type=int, default=6144)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--gpu", type=int, default=0)
    asked = parser.parse_args()

    free = measure(asked)
    summary = judge(free).summary
    if free.outcome is not Outcome.OK or summary is None or summary.need is None:
        print(f"unlimited: {free.outcome}: {free.cause}")
        return 1
    parts = summary.need.model_dump(exclude_none=True)
    print(f"unlimited: ok; {', '.join(f'{name} {value / 2**30:.3f} GiB' for name, value in parts.items())}")
    minimum, device, beside = parts["minimum_to_run_bytes"], free.machine.gpus[0].memory_bytes, beside_allocator(free)
    right = True
    for factor, wanted in ((MORE, Outcome.OK), (LESS, Outcome.OOM)):
        limit = int(factor * minimum)
        if asked.engine == "vllm":
            record = measure(asked, "--gpu_memory_utilization", f"{(limit + beside) / device:.5f}")
        else:
            record = measure(asked, PYTORCH_ALLOC_CONF=f"per_process_memory_fraction:{limit / device:.5f}")
        cause = record.cause.message if record.cause else ""
        print(f"limited to {limit / 2**30:.3f} GiB ({factor:.0%}): {record.outcome} {cause[:200]}")
        right = right and record.outcome is wanted
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
