"""Whether the figures can be what they seem: extrapolated ones, and those that the hardware can't reach."""

from speed_benchmark.judge.judgement import Severity
from speed_benchmark.judge.quick import MODEL_ERROR
from speed_benchmark.judge.rules.disturbance import OTHER_CORES
from speed_benchmark.judge.rules.rule import PACED, Found, rule
from speed_benchmark.judge.seen import Seen

# The measured peaks of two cards of one model differ by 3 %, and a measurement of one by 1 or 2 % from the next: as far
# above them a record may be of a better card, or of a better moment.
BEST_CARD = 1.05


@rule("predicted", Severity.NOTE, ("", "host_launch"), of=("speed", "percentiles", "energy"))
def predicted(seen: Seen) -> Found:
    """Figures that come from a part of the output say so, and whether the whole may go at another pace."""
    if not (seen.summary and seen.summary.predicted):
        return
    if seen.is_guess:
        yield Severity.DOUBTFUL, {"variant": "host_launch"}
    else:
        yield {"model_error": MODEL_ERROR}


@rule("not_predicted", Severity.INVALID)
def not_predicted(seen: Seen) -> Found:
    """The windows of a quick measurement are long enough to tell how the whole goes on."""
    windows = {sample.window for sample in seen.record.samples}
    timed = all(sample.is_timed for sample in seen.record.samples)
    if seen.record.cell.protocol.quick and {"start", "end"} <= windows and timed and seen.summary is None:
        yield {}


@rule("above_roofline", Severity.INVALID, ("", "near", "disturbed"), of=PACED)
def above_roofline(seen: Seen) -> Found:
    """No phase was faster than the device can be; by a few percent another card of the model may have been."""
    peaks = seen.record.device_peaks
    if seen.roofline is None or peaks is None or seen.roofline.highest_utilization <= 1:
        return
    share = seen.roofline.highest_utilization
    if not seen.record.gpus and peaks.other_cores > OTHER_CORES:
        yield Severity.DOUBTFUL, {"variant": "disturbed", "share": share}
    elif share <= BEST_CARD:
        yield Severity.DOUBTFUL, {"variant": "near", "share": share}
    else:
        yield {"share": share}
