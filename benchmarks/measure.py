"""Time contestants by turns in one process, and measure the peak memory of each in a process of its own.

A module of this package that has ``ROWS``, a list of ``Row``, takes part; nothing else is to be registered.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import pkgutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

OURS = "ours"


@dataclass(frozen=True)
class Contest:
    """What a row measures, made ready.

    Attributes:
        contestants: Functions without arguments that do the work once. ``"ours"`` is one of them; the customary others
            are ``"transcription"`` (the specification as a reader would write it down) and ``"floor"`` (its matrix
            products, convolutions and sines alone).
        note: Says what was checked, such as the deviation of ours from the transcription; called once, untimed.
    """

    contestants: dict[str, Callable[[], object]]
    note: Callable[[], str] = str


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: Unique, without spaces, as in ``image-exact``.
        what: What is measured, sizes and number format included.
        prepare: Builds models and inputs; not timed.
        rounds: Times that every contestant runs, by turns, after one run that does not count.
        memory: Contestants whose peak memory is measured too.
    """

    name: str
    what: str
    prepare: Callable[[], Contest]
    rounds: int = 7
    memory: tuple[str, ...] = (OURS,)


@dataclass(frozen=True)
class Result:
    """One measured line.

    Attributes:
        row: What was measured.
        seconds: Median seconds of each contestant.
        ratios: Median over the rounds of ours / other, for every other contestant.
        peak_mib: Peak memory above the idle process in MiB, where it was measured.
        note: Of the contest.
    """

    row: Row
    seconds: dict[str, float]
    ratios: dict[str, float]
    peak_mib: dict[str, float] = field(default_factory=dict)
    note: str = ""


def all_rows() -> list[Row]:
    """Collect the rows of every module of this package, sorted by name.

    Raises:
        ValueError: Two rows share a name.
    """
    package = importlib.import_module(__package__)
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "__main__")
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names]
    rows = sorted((row for module in modules for row in getattr(module, "ROWS", ())), key=lambda row: row.name)
    for row, following in zip(rows, rows[1:]):
        if row.name == following.name:
            raise ValueError(f"two benchmarks are named {row.name}, expected unique names")
    return rows


def measure(row: Row, rounds: int | None = None, memory: bool = True, options: Sequence[str] = ()) -> Result:
    """Measure one row.

    Contestants take turns, so that whatever else the machine does hits them alike; a ratio is taken within a round,
    and the median over the rounds is reported.

    Args:
        row: What is measured.
        rounds: None takes the row's.
        memory: Whether to start processes for the peak memory.
        options: Of the command line, for those processes.
    """
    contest = row.prepare()
    for run in contest.contestants.values():
        run()
    times = {name: [] for name in contest.contestants}
    for _ in range(row.rounds if rounds is None else rounds):
        for name, run in contest.contestants.items():
            times[name].append(seconds(run))
    ratios = {
        name: statistics.median(ours / other for ours, other in zip(times[OURS], times[name]))
        for name in times
        if name != OURS
    }
    peaks = {name: peak_mib_in_subprocess(row.name, name, options) for name in row.memory} if memory else {}
    medians = {name: statistics.median(values) for name, values in times.items()}
    return Result(row, medians, ratios, peaks, contest.note())


def seconds(run: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one run, the accelerator's queue included."""
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_mib_in_subprocess(row_name: str, contestant: str, options: Sequence[str] = ()) -> float:
    """Return the peak memory of one run in a fresh process above that process at rest, in MiB."""
    command = [sys.executable, "-m", __package__, row_name, "--peak", contestant, *options]
    root = Path(__file__).parents[1]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{run.stderr}")
    return float(run.stdout)


def peak_mib(row: Row, contestant: str) -> float:
    """Return the peak memory of the first run in this process above the prepared process at rest, in MiB.

    On a GPU it is the memory torch allocates there; else the resident memory, from /proc (Linux only).
    """
    run = row.prepare().contestants[contestant]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    release_free_memory()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far (man 5 proc)
    before = _status_mib("VmRSS")
    run()
    return _status_mib("VmHWM") - before


def release_free_memory() -> None:
    """Give what the preparations have freed back to the system, so that the run cannot hide in it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc
    if trim is not None:
        trim(0)


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024
