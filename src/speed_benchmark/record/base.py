"""The base of all values that are stored or sent between processes, and the bounds of what they hold.

A file may come from anybody: within these bounds no sum, product or ratio of its figures leaves the range of a float.
They are wide, because whatever was measured must fit: what can't be true is a finding's business.
"""

from datetime import datetime, timedelta
from typing import Annotated

from annotated_types import Interval, MaxLen
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, WithJsonSchema

# The largest whole number up to which every one is exact as a float too; 8 PiB, as bytes.
_MOST = 2**53
# Thirty years, and three thousand from 1970.
_LONGEST_S, _LATEST_UNIX_S = 1e9, 1e11
# Longer than the longest argument of a command line, which a record keeps.
_LONGEST_TEXT = 2**18


class Frozen(BaseModel):
    """A value: immutable, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _moment(text: str) -> str:
    """`text`, if it is a moment as records have it; raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() != timedelta(0) or moment.isoformat(timespec="seconds") != text:
        raise ValueError("should be a moment in UTC, as 2026-01-31T12:00:00+00:00")
    if not 0 <= moment.timestamp() <= _LATEST_UNIX_S:
        raise ValueError("should be a moment of this age")
    return text


Count = Annotated[int, Interval(ge=0, le=_MOST)]
Positive = Annotated[int, Interval(ge=1, le=_MOST)]
Bytes = Count
Whole = Annotated[int, Interval(ge=-_MOST, le=_MOST)]
# A duration by a clock that was set back is negative, which a rule finds.
Seconds = Annotated[float, Interval(ge=-_LONGEST_S, le=_LONGEST_S)]
Elapsed = Annotated[float, Interval(ge=0, le=_LONGEST_S)]
# Of something that can't take no time: two of them have a ratio.
Taken = Annotated[float, Interval(ge=1e-12, le=_LONGEST_S)]
UnixSeconds = Annotated[float, Interval(ge=0, le=_LATEST_UNIX_S)]
Share = Annotated[float, Interval(ge=0, le=1)]
# Of anything that is read from hardware or computed from such readings, in its unit.
Reading = Annotated[float, Interval(ge=-1e18, le=1e18)]
# Of something that a second is enough for: bytes or operations of a device.
PerSecond = Annotated[float, Interval(ge=1, le=1e24)]
Text = Annotated[str, MaxLen(_LONGEST_TEXT)]
Digest = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{1,64})?$")]
Moment = Annotated[str, AfterValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
