"""The clock of a measurement."""

import time
from collections.abc import Sequence


class WallClock:
    """`time.perf_counter`, and the CUDA devices whose work has to be waited for.

    `cuda_devices` are the indices of the devices used; without any, nothing has to be waited for.
    """

    def __init__(self, cuda_devices: Sequence[int] = ()) -> None:
        self.cuda_devices = tuple(cuda_devices)

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        return time.perf_counter()

    def unix(self) -> float:
        """Seconds on the system's clock."""
        return time.time()

    def synchronize(self) -> None:
        """Return once every device used has finished all that was asked of it."""
        if not self.cuda_devices:
            return
        import torch

        for device in self.cuda_devices:
            torch.cuda.synchronize(device)
