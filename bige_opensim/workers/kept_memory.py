"""Keep memory that arrays gave up, instead of asking the system for it, page by page, for the next ones."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BYTES = 32 * 2**20
"""Largest block that glibc takes from memory it keeps: the most that mallopt(3) allows."""
KEPT_BYTES = 2**28


def keep_freed_memory() -> None:
    """Have this process keep up to `KEPT_BYTES` that it freed; nothing where the C library is not glibc.

    Arrays of a few megabytes otherwise come from the system and go back to it with every operation, and the first touch
    of each of their pages is a fault: an eighth of the time that labelling takes. The largest size of the process is
    the same.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, LARGEST_BYTES)
        set_option(M_TRIM_THRESHOLD, KEPT_BYTES)
