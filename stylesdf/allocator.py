"""Keep large temporaries in the process: glibc returns them to the kernel by default, which costs 2–4× on the CPU."""

from __future__ import annotations

import ctypes
import sys

# from malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_large_blocks(size: int = 1 << 30) -> bool:
    """Let the C library reuse freed blocks of up to ``size`` bytes instead of unmapping them.

    Returns:
        Whether the C library took the settings; False without glibc, where nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    size = min(size, 2**31 - 1)
    settings = ((_M_MMAP_THRESHOLD, size), (_M_TRIM_THRESHOLD, size), (_M_TOP_PAD, 64 << 20))
    return all([mallopt(option, value) == 1 for option, value in settings])
