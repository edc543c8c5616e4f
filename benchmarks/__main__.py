"""Measure and print a table."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import sys

import torch

from benchmarks.measure import Result, all_rows, measure, peak_mib
from stylesdf.fast.allocator import keep_large_blocks

EPILOG = """examples:
  python -m benchmarks                                     everything
  python -m benchmarks 'image-*' thumbnail-exact           some rows
  python -m benchmarks --list                              names of the rows
  taskset -c 1 python -m benchmarks 'view-*' --threads 1   one core, when the machine has other work
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this project beside a plain transcription of its specification and beside the floor (the "
        "matrix products, convolutions and sines alone, their buffers reused). Contestants run by turns; seconds are "
        "medians, ratios are medians of ours / other within a round, memory is the peak above the idle process.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="NAME", help="rows to measure, * and ? stand for any (default: all)")
    parser.add_argument("--rounds", type=int, help="runs of every contestant (default: the row's own number)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument(
        "--plain-allocator",
        action="store_true",
        help="leave the C library's memory allocator as a user's script finds it; by default all contestants get the "
        "settings of our command line and page",
    )
    parser.add_argument("--no-memory", action="store_true", help="skip the processes that measure peak memory")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and end")
    parser.add_argument("--peak", metavar="CONTESTANT", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    rows = all_rows()
    if options.rows:
        unknown = [name for name in options.rows if not any(fnmatch.fnmatch(row.name, name) for row in rows)]
        if unknown:
            parser.error(f"no row is named {unknown[0]!r}, see --list")
        rows = [row for row in rows if any(fnmatch.fnmatch(row.name, name) for name in options.rows)]
    if options.list:
        for row in rows:
            print(f"{row.name:25} {row.what}")
        return 0
    for name in ("rounds", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} is {value}, expected at least 1")
    if not options.plain_allocator:
        keep_large_blocks()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.peak:
        print(peak_mib(rows[0], options.peak))
        return 0
    print(f"# {describe_machine()}", flush=True)
    results = []
    for row in rows:
        results.append(measure(row, options.rounds, not options.no_memory, peak_options(options)))
        print("\n".join(lines(results[-1])), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": describe_machine(), "rows": [as_dict(result) for result in results]}, file, indent=1)
    return 0


def peak_options(options: argparse.Namespace) -> list[str]:
    """Return the options that a process measuring peak memory shares with this one."""
    threads = [] if options.threads is None else ["--threads", str(options.threads)]
    return threads + ["--plain-allocator"] * options.plain_allocator


def describe_machine() -> str:
    """Return processor, cores in use, threads and torch's version, on one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{device}, {cores} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def lines(result: Result) -> list[str]:
    """Return the printed lines of one result."""
    parts = []
    for name, value in result.seconds.items():
        ratio = f" ({result.ratios[name]:.2f}×)" if name in result.ratios else ""
        peak = f" {result.peak_mib[name]:.0f} MiB" if name in result.peak_mib else ""
        parts.append(f"{name} {value:.4g} s{ratio}{peak}")
    printed = [f"{result.row.name:25} {' | '.join(parts)}", f"{'':25} {result.row.what}"]
    return printed + ([f"{'':25} {result.note}"] if result.note else [])


def as_dict(result: Result) -> dict:
    """Return a result fit for JSON."""
    values = {name: getattr(result, name) for name in ("seconds", "ratios", "peak_mib", "note")}
    return {"name": result.row.name, "what": result.row.what, **values}


if __name__ == "__main__":
    sys.exit(main())
