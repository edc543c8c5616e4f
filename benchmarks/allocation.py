"""What glibc does with large temporaries where nobody has told it otherwise."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

from stylesdf.fast.allocator import keep_large_blocks

# from malloc.h; without settings the first two grow with the blocks that are freed, up to these (mallopt(3))
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_DEFAULTS = {_M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 64 << 20, _M_TOP_PAD: 128 << 10}


@contextlib.contextmanager
def glibc_defaults() -> Iterator[None]:
    """Run as a process does that leaves the allocator alone; ours goes on with ``keep_large_blocks``."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        yield
        return
    for option, value in _DEFAULTS.items():
        mallopt(option, value)
    try:
        yield
    finally:
        keep_large_blocks()
