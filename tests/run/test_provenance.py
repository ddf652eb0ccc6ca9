"""Which software made a record, and nothing that is nobody else's business."""

import pytest

from speed_benchmark.run.provenance import provenance


def test_what_steers_libraries_is_kept_and_secrets_and_paths_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {
        "OMP_NUM_THREADS": "7",
        "ENGINE_USE_SAMPLER": "0",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "ENGINE_API_KEY": "hidden",
        "NCCL_TOKEN": "hidden",
        "CUDA_HOME": "/home/hidden/cuda",
        "HF_TOKEN": "hidden",
        "NVIDIA_REQUIRE_CUDA": "cuda>=13.0 hidden",
    }
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    kept = provenance({"torch": "2"}, ("ENGINE_",)).environment
    assert "hidden" not in " ".join(kept.values())
    assert {name: kept.get(name) for name in list(there)[:3]} == dict(list(there.items())[:3])
