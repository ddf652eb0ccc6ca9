"""How long a worker may take before it counts as hanging, and what it may find on its GPUs."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from speed_benchmark.cell import Option


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long each stage of a worker may take, and what may be there and be done beside the measurement."""

    load_limit_s: Annotated[float, Gt(0), Option("longest time to load the model")] = 7200.0
    first_token_limit_s: Annotated[float, Gt(0), Option("longest time to the first token of a request")] = 3600.0
    token_limit_s: Annotated[float, Gt(0), Option("longest time from one token to the next")] = 300.0
    close_limit_s: Annotated[float, Gt(0), Option("longest time to close the engine")] = 120.0
    wait_idle: Annotated[float, Ge(0), Option("seconds to wait for GPUs that others use")] = 0.0
    allow_busy: Annotated[bool, Option("measure on GPUs that others use, and say so in the record")] = False
    no_profile: Annotated[bool, Option("leave out the pass under the profiler, and with it the device time")] = False
