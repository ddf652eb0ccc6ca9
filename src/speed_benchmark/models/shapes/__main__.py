"""The child: config.json after config.json from its standard input, a line of JSON for each to its standard output."""

import json
import os
import resource
import signal
import sys

from speed_benchmark.models.config import Config
from speed_benchmark.models.shapes.asked import Answer

MEMORY_BYTES = 4 * 2**30
"""What it may take: PyTorch and transformers take 0.7 GB, a model without values next to nothing."""


def main() -> None:
    """Answer for each config in turn; a config that takes too long ends the process, and so does no other."""
    limit_s = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print what they like
    for config in json.load(sys.stdin):
        signal.alarm(limit_s)  # nobody handles it: it ends the process, whatever it is doing
        print(_answer(config).model_dump_json(), file=output, flush=True)


def _answer(config: Config) -> Answer:
    from speed_benchmark.models.shapes.built import shape_of

    try:
        return Answer(shape=shape_of(config))
    except Exception as error:  # noqa: BLE001 - a class of transformers may raise anything at a config that lies
        return Answer.none(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
