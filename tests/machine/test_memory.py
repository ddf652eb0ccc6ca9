"""Memory of known size, seen through the readers that measure models."""

import subprocess
import sys

import pytest

# In a process of its own, so that nothing else of the test run is freed or taken meanwhile.
HOST = """
import torch
from speed_benchmark.machine.memory import MemoryReader
reader = MemoryReader(())
torch.zeros(1)
reader.reset()
before = reader.read().host_peak_rss_bytes
kept = torch.ones(SIZE, dtype=torch.uint8)
during = reader.read().host_peak_rss_bytes
del kept
reader.reset()
print(during - before, reader.read().host_peak_rss_bytes - before)
"""
# An engine whose model is in a process of its own.
CHILD = """
import subprocess, sys
from speed_benchmark.machine.memory import MemoryReader
program = "print(flush=True); input(); kept = b'1' * SIZE; del kept; print(flush=True); input()"
child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
reader = MemoryReader(())
kept = b"1" * (SIZE // 2)
reader.reset()
own = reader.read().host_peak_rss_bytes
child.stdin.write(b"\\n"); child.stdin.flush(); child.stdout.readline()
both = reader.read().host_peak_rss_bytes
child.kill()
print(*map(int, (own > SIZE // 2, both > SIZE, both < own + SIZE)))
"""
GPU = """
import torch
from speed_benchmark.machine.memory import MemoryReader
reader = MemoryReader((0,))
torch.zeros(1, device="cuda")
reader.reset()
before = reader.read()
kept = torch.ones(SIZE, dtype=torch.uint8, device="cuda")
after = reader.read()
for name in ("allocator_peak_allocated_bytes", "allocator_peak_reserved_bytes", "device_used_bytes"):
    print(getattr(after, name) - getattr(before, name))
if after.process_device_bytes is not None:
    print(after.process_device_bytes - before.process_device_bytes)
"""
# What Linux alone has is hidden, as far as this tool looks at it; psutil, which is ported, reads the rest of /proc.
ELSEWHERE = """
import os, sys
def hide(event, arguments):
    if event == "open" and str(arguments[0]).startswith(("/proc/self/", "/proc/cpuinfo")):
        raise FileNotFoundError(arguments[0])
del os.sched_getaffinity
sys.addaudithook(hide)
from speed_benchmark.machine.describe import describe, observe
from speed_benchmark.machine.memory import MemoryReader
from speed_benchmark.machine.sampler import MachineReader
reader = MemoryReader(())
reader.reset()
assert reader.read().host_peak_rss_bytes is None
assert describe(()).usable_cores is None
observe(())
MachineReader([], os.getpid()).read()
"""
SIZE = 256 * 2**20


def run(program: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", program.replace("SIZE", str(SIZE))],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.slow
def test_known_memory_is_seen_in_the_host() -> None:
    taken, left = run(HOST)
    assert taken == pytest.approx(SIZE, rel=0.01)
    assert abs(left) < 0.01 * SIZE, "a reset begins a new peak"


def test_memory_of_the_largest_process_is_seen() -> None:
    assert run(CHILD) == [1, 1, 1]


@pytest.mark.slow
def test_known_memory_is_seen_on_the_gpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    assert run(GPU) == pytest.approx([SIZE] * len(run(GPU)), rel=0.01)


def test_without_proc_the_peak_of_the_host_is_not_known() -> None:
    assert run(ELSEWHERE) == []
