import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from bige_opensim.workers.kept_memory import keep_freed_memory
if {kept}:
    keep_freed_memory()
for _ in range(20):
    arrays = [np.ones(3 * 2**20) for _ in range(3)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)
def test_arrays_take_the_pages_that_others_gave_up():
    """Three arrays of 24 MB, twenty times: pages again where the system is asked for them."""

    def faults(kept: bool) -> int:
        command = [sys.executable, "-c", FAULTS.format(kept=kept)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults(True) < faults(False) / 2
