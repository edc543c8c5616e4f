"""Which of several ways is the quickest depends on who made the processor."""

from __future__ import annotations

import platform
from pathlib import Path


def is_intel() -> bool:
    """Whether the processor is Intel's: for others MKL, by which torch multiplies and takes sines, is slow."""
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        about = platform.processor()
    return "GenuineIntel" in about


IS_INTEL = is_intel()
