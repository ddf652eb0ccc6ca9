"""Which software makes a record: this tool, its commit, the command, the packages."""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import speed_benchmark
from speed_benchmark.record.record import Provenance

_STEERING = (
    *("CUDA_", "GOMP_", "KMP_", "MKL_", "NCCL_", "NUMEXPR_", "NVIDIA_", "NVSHMEM_", "OMP_", "OPENBLAS_"),
    *("PYTORCH_", "TORCH", "TRITON_", "VLLM_"),
)
# Secrets, and what a container's image asks of the driver: a page of text that changes nothing.
_LEFT_OUT = ("KEY", "TOKEN", "SECRET", "PASSWORD", "NVIDIA_REQUIRE_")


def provenance(packages: dict[str, str]) -> Provenance:
    """The provenance of a record made by this process; `packages` are those that the worker really had."""
    return Provenance(
        tool_version=speed_benchmark.__version__,
        git_commit=_git_commit(),
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        python=platform.python_version(),
        packages=packages,
        environment={name: value for name, value in sorted(os.environ.items()) if _steers(name, value)},
    )


def _steers(name: str, value: str) -> bool:
    """Whether a variable may change what a library does; secrets and paths are nobody else's business."""
    return name.startswith(_STEERING) and not any(word in name for word in _LEFT_OUT) and "/" not in value


@cache
def _git_commit() -> str | None:
    """The commit of this tool's checkout, with `+` where files differ from it; None outside a checkout."""
    git = shutil.which("git")
    root = Path(__file__).resolve().parents[3]
    if git is None or not (root / ".git").exists():
        return None

    def ask(*arguments: str) -> str:
        done = subprocess.run([git, "-C", str(root), *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
        return done.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    return (commit + ("+" if ask("status", "--porcelain", "--", "src") else "")) or None
