"""How long a worker may take before it counts as hanging."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from speed_benchmark.cell import Option


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long each stage of a worker may take."""

    load_limit_s: Annotated[float, Gt(0), Option("longest time to load the model")] = 7200.0
    first_token_limit_s: Annotated[float, Gt(0), Option("longest time to the first token of a request")] = 3600.0
    token_limit_s: Annotated[float, Gt(0), Option("longest time from one token to the next")] = 300.0
    close_limit_s: Annotated[float, Gt(0), Option("longest time to close the engine")] = 120.0
