import subprocess
import sys
import time

from speed_benchmark.engines.clock import WallClock


def test_it_is_the_performance_counter() -> None:
    before = time.perf_counter()
    now = WallClock().now()
    assert before <= now <= time.perf_counter()


def test_without_gpus_it_waits_for_nothing_and_needs_no_torch() -> None:
    code = (
        "import sys; from speed_benchmark.engines.clock import WallClock; "
        "WallClock().synchronize(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
