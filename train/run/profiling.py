"""What the steps of a run spend their time on, as PyTorch's profiler sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from stylesdf.files import replacing

log = logging.getLogger(__name__)
WARM_UP = 3  # steps before the first that counts: kernels are chosen and memory is allocated in them
FOLDER, TRACE_FILE, TABLE_FILE = "profile", "trace.json.gz", "table.txt"
ROWS = 60  # of each table


@contextmanager
def profiled(out: Path, steps: int) -> Iterator[Callable[[], None]]:
    """Profile some steps after three to warm up, with what a run does between them; no weight changes by it.

    ``profile/trace.json.gz`` is for https://ui.perfetto.dev, ``profile/table.txt`` lists operators by the time that
    they take themselves, on the CPU and, where there is one, on the GPU. Both are of all profiled steps together, of
    fewer where the run ends before. Those of an earlier profile are replaced.

    Args:
        out: Folder of the run.
        steps: How many; 0 profiles nothing.

    Yields:
        A function to be called after each step.
    """
    if not steps:
        yield lambda: None
        return
    profiler = profile(
        activities=_activities(),
        schedule=schedule(wait=0, warmup=WARM_UP, active=steps, repeat=1),
        on_trace_ready=lambda profiler: _write(profiler, out / FOLDER) if profiler.step_num > WARM_UP else None,
    )
    with profiler:
        yield profiler.step
    if profiler.step_num <= WARM_UP:
        log.warning("nothing is profiled: the run ended after %d steps, expected over %d", profiler.step_num, WARM_UP)


def _activities() -> list[ProfilerActivity]:
    """Return what is watched."""
    return [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()


def _write(profiler: profile, folder: Path) -> None:
    with replacing(folder / TRACE_FILE) as path:
        profiler.export_chrome_trace(str(path))
    averages = profiler.key_averages()
    orders = {"CPU": "self_cpu_time_total"}
    if ProfilerActivity.CUDA in profiler.activities:
        orders["GPU"] = "self_device_time_total"
    tables = [
        f"Operators by their own time on the {name}\n{averages.table(sort_by=order, row_limit=ROWS)}"
        for name, order in orders.items()
    ]
    with replacing(folder / TABLE_FILE) as path:
        path.write_text("\n".join(tables), encoding="utf-8")
    log.info("%s has a trace of the profiled steps, and a table of operators by time", folder)
