"""What `--quick` predicts beside what a full measurement shows, both on one loaded engine.

Prints, for each round, the predicted and the measured speed with their intervals, the error of the prediction, and
the share of the full measurement's device time (all its requests, warm-ups included) that the prediction took.
Exits 1 where the error of the mean over the rounds is above 2 %, or the share above a fifth.

usage: quick.py ENGINE [--model ID] [--context N] [--generate N] [--repeats N] [--rounds N] [-- more flags of run]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from speed_benchmark.results.record import Quantity, Record

LARGEST_ERROR, LARGEST_SHARE = 0.02, 0.2


def device_s(record: Record) -> float:
    """Seconds of all requests of a record."""
    return sum(sample.duration_s for sample in (*record.warmups, *record.samples))


def shown(speed: Quantity) -> str:
    """A speed with its interval."""
    half = f" ± {(speed.interval.high - speed.interval.low) / 2:.2f}" if speed.interval else ", no interval"
    return f"{speed.mean:.2f}{half}"


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine")
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--generate", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    asked, more = parser.parse_known_args()

    predictions, measurements, shares = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "quick.toml"
        full, quick = f"[[grid]]\nrepeats = {asked.repeats}\n", "[[grid]]\nquick = true\nrepeats = 6\n"
        for number in range(asked.rounds):
            suite.write_text(full + quick if number % 2 else quick + full)
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "speed_benchmark", "run", str(suite), "--engine", asked.engine),
                    *("--model_id_or_path", asked.model, "--weights", "synthetic", "--retry", "all", "--json"),
                    *("--context_length", str(asked.context), "--generate_length", str(asked.generate)),
                    *("--outputs_dir", str(Path(folder) / str(number)), *(flag for flag in more if flag != "--")),
                ],
                stdout=subprocess.PIPE,
                check=True,
            )
            records = [Record.model_validate_json(line) for line in done.stdout.splitlines()]
            predicted, measured = (
                next(record for record in records if record.cell.protocol.quick is quick) for quick in (True, False)
            )
            assert predicted.summary is not None
            assert measured.summary is not None
            predictions.append(predicted.summary.generation_tokens_per_s.mean)
            measurements.append(measured.summary.generation_tokens_per_s.mean)
            shares.append(device_s(predicted) / device_s(measured))
            print(
                f"round {number + 1}: predicted {shown(predicted.summary.generation_tokens_per_s)}, "
                f"measured {shown(measured.summary.generation_tokens_per_s)} tokens/s, "
                f"error {predictions[-1] / measurements[-1] - 1:+.2%}, share of the device time {shares[-1]:.1%}",
                flush=True,
            )
    error, share = statistics.fmean(predictions) / statistics.fmean(measurements) - 1, statistics.fmean(shares)
    good = abs(error) <= LARGEST_ERROR and share <= LARGEST_SHARE
    print(f"{asked.engine}: error {error:+.2%}, share of the device time {share:.1%}: {'good' if good else 'too much'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
