"""Work that other processes do for this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from train.errors import RunError

MOST_PROCESSES = 60  # Windows waits for no more than 63 at a time

Task, Result = TypeVar("Task"), TypeVar("Result")


def in_order(function: Callable[[Task], Result], tasks: Iterable[Task], jobs: int) -> Iterator[Result]:
    """Call a function with each of some tasks, and yield its results in their order.

    Processes are spawned, so a script that calls this needs the usual ``if __name__ == "__main__"``.

    Args:
        function: To be called; it and its tasks are pickled where there are several jobs.
        tasks: Its arguments, of which few are taken before their results are yielded.
        jobs: Processes, at most ``MOST_PROCESSES``; with less than two all is done in this one.

    Raises:
        RunError: A process was killed.
    """
    if jobs < 2:
        yield from map(function, tasks)
        return
    jobs = min(jobs, MOST_PROCESSES)
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin)
    waiting: deque = deque()
    try:
        for task in tasks:
            waiting.append(executor.submit(function, task))
            if len(waiting) > jobs + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        message = "a process that works on pictures was killed, perhaps for its memory: start the same command again"
        raise RunError(message) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    """Begin a process: Ctrl-C is its parent's to handle, and it ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
