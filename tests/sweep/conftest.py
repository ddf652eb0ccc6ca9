"""The helpers of the fault tests, and GPUs that are not there."""

import sys
from pathlib import Path

FAULTS = Path(__file__).parents[1] / "faults"
SHIM = FAULTS / "shim"
sys.path.insert(0, str(FAULTS))
