"""`python -m speed_benchmark` is the `speed-benchmark` command."""

import sys

from speed_benchmark.run.interrupt import stoppable


def main() -> None:
    """The command from its first import on: a signal that comes while it starts stops it too."""
    sys.exit(stoppable(_command))


def _command() -> int:
    from speed_benchmark import cli

    return cli.main()


if __name__ == "__main__":
    main()
