"""Models that mean harm, and a look at whether they did any."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import nursery

FETCH = """
import json, resource, sys
from speed_benchmark.cell import Model
from speed_benchmark.errors import UserError
from speed_benchmark.models.source import FetchError, fetch
try:
    fetched = fetch(Model(**json.loads(sys.argv[1])), lambda *step: None)
    answer = {"digest": fetched.checkpoint.weights_digest}
except (FetchError, UserError) as error:
    answer = {"error": str(error)}
peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(answer | {"peak_bytes": peak_bytes, "heavy": "torch" in sys.modules}))
"""


@dataclass
class Box:
    """A machine with one model on it; `ran` appears there if any code of the model was run."""

    home: Path
    model: Path

    @property
    def ran(self) -> Path:
        return self.home / "ran"

    def variables(self) -> dict[str, str]:
        """The whole environment of a process on this machine."""
        folders = {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache"), "CUDA_VISIBLE_DEVICES": ""}
        kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        return kept | folders

    def python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.variables(),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def fetch(self, **flags: Any) -> dict[str, Any]:
        """What the parent makes of the model: a digest or an error, and what it took."""
        asked = json.dumps({"model_id_or_path": str(self.model), **flags})
        done = nursery.run(FETCH, asked, environment=self.variables(), folder=self.home)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert not answer["heavy"]
        assert answer["peak_bytes"] < 500_000_000
        assert not self.ran.exists()
        return answer

    def refused(self, **flags: Any) -> str:
        """Why the model was refused, in one line."""
        error = str(self.fetch(**flags)["error"])
        assert error.isprintable()
        assert len(error) < 600
        return error

    def measure(self, *flags: str, engine: str = "fake") -> tuple[int, dict[str, Any]]:
        """The exit status and the record of a run."""
        command = ["run", "--engine", engine, "--model_id_or_path", str(self.model), "--context_length", "200"]
        command += ["--generate_length", "3", "--repeats", "1", "--outputs_dir", str(self.home / "out"), "--json"]
        done = self.python("-m", "speed_benchmark", *command, *flags)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)

    def configure(self, **changed: Any) -> None:
        """Change keys of config.json."""
        file = self.model / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))

    def evil_pickle(self) -> bytes:
        """A pickle that leaves `ran` behind when it is read."""
        return pickle.dumps(_Evil(str(self.ran)))


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))
