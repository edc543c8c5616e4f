"""Where the memory of a server's threads comes from."""

import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# How many places glibc has after some threads took memory at the same time.
COUNT = """
import ctypes, runpy, sys, threading
allocator = runpy.run_path("stylesdf/fast/allocator.py")
if sys.argv[2] == "one":
    assert allocator["use_one_arena"]()
libc, gate = ctypes.CDLL(None), threading.Barrier(6)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p

def take():
    gate.wait()
    libc.malloc(100_000)
    gate.wait()

threads = [threading.Thread(target=take) for _ in range(6)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
libc.malloc_trim(0)
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_threads_take_memory_from_one_place(tmp_path):
    counts = {}
    for kind in ("many", "one"):
        path = tmp_path / kind
        command = [sys.executable, "-c", COUNT, str(path), kind]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60, capture_output=True)
        counts[kind] = path.read_text(encoding="utf-8").count("<heap nr=")
    assert counts["one"] == 1 < counts["many"]
