"""A user's machine that fetches a small model as the program does it, in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import nursery

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
NOT_NEEDED = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "README.md": b"# A model\n",
    "model.gguf": b"G" * 20_000,
    "pytorch_model.bin": b"P" * 20_000,
    "consolidated.safetensors": b"C" * 20_000,
    "chat_template.jinja": b"{% for _ in range(10 ** 12) %}{% endfor %}",
    "onnx/model.onnx": b"O" * 20_000,
    "original/consolidated.00.pth": b"T" * 20_000,
}
FETCH = """
import json, os, resource, sys
if "HF_CHUNK_BYTES" in os.environ:  # so that a small file, too, comes in several pieces
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import huggingface_hub.constants
    huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = int(os.environ["HF_CHUNK_BYTES"])
if "BOUNDS" in os.environ:  # smaller ones than a server of tests would take long to reach
    from speed_benchmark.models.hub import bounds
    vars(bounds).update(json.loads(os.environ["BOUNDS"]))
from speed_benchmark.cell import Model
from speed_benchmark.errors import UserError
from speed_benchmark.models.source import FetchError, fetch
progress = []
try:
    fetched = fetch(Model(**json.loads(sys.argv[1])), lambda *step: progress.append(step))
    answer = {"folder": str(fetched.folder), **fetched.checkpoint.model_dump()}
except (FetchError, UserError) as error:
    answer = {"error": str(error)}
heavy = sorted(name for name in ("torch", "transformers", "vllm") if name in sys.modules)
peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(answer | {"progress": progress, "heavy": heavy, "peak_bytes": peak_bytes}))
"""


@dataclass
class Client:
    """A user's machine: empty caches at first, and an environment that names the hub."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def variables(self, **more: str) -> dict[str, str]:
        """The whole environment of a process on this machine."""
        kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        folders = {
            "HOME": str(self.home),
            "HF_HOME": str(self.home / "hf"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "MODELSCOPE_CACHE": str(self.home / "modelscope"),
        }
        return kept | folders | self.environment | more

    def run(self, command: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *command],
            env=self.variables(**environment),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def fetch(self, name: str = MODEL, environment: Mapping[str, str] | None = None, **model: Any) -> dict[str, Any]:
        """What fetching gave: a checkpoint, or `error`; and what was said on the way, as `said`."""
        asked = json.dumps({"model_id_or_path": name, **model})
        done = nursery.run(FETCH, asked, environment=self.variables(**(environment or {})), folder=self.home)
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout.splitlines()[-1]), "said": done.stdout + done.stderr}

    def files(self) -> dict[str, bytes]:
        """All that is on this machine."""
        return {
            str(path.relative_to(self.home)): path.read_bytes()
            for path in self.home.rglob("*")
            if path.is_file() and not path.is_symlink()
        }
