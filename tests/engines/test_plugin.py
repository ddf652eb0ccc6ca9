"""A fourth engine: one file, and one line that registers it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from speed_benchmark.record.store import read

ENGINE = """
from speed_benchmark.engines.protocol import Loaded
from speed_benchmark.engines.clock import WallClock

class Echo:
    requires = ()
    cached_tokens = None

    def __init__(self):
        self.clock = WallClock()

    def load(self, load):
        return Loaded(attention_implementation="none", quantization="BF16", dtype="none", execution="eager",
                      weight_bytes=0, rope="default", devices=("here",))

    def prepare(self, request):
        self.count = request.generate_length

    def generate(self, on_token):
        for _ in range(self.count):
            on_token()
        return range(self.count)

    def close(self):
        pass
"""


def test_a_fourth_engine(
    command: Callable[..., subprocess.CompletedProcess[str]], fake_model: Callable[..., Path], tmp_path: Path
) -> None:
    package = tmp_path / "site"
    (package / "echo-1.dist-info").mkdir(parents=True)
    (package / "echo.py").write_text(ENGINE)
    (package / "echo-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: echo\nVersion: 1\n")
    (package / "echo-1.dist-info" / "entry_points.txt").write_text("[speed_benchmark.engines]\necho = echo:Echo\n")
    done = command(
        *("run", "--engine", "echo", "--model_id_or_path", fake_model(), "--context_length", 4),
        *("--generate_length", 5, "--outputs_dir", "out"),
        PYTHONPATH=str(package),
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    assert [sample.output_tokens for sample in read(path).samples] == [5, 5, 5]
