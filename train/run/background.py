"""Work that a run does not wait for: pictures are compressed, and trackers told, in a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)
LARGE_TASKS = 2  # one that is worked on and one that waits; a third holds the run until there is room


class Background:
    """Does tasks one after the other, in the order in which they come.

    A task that fails is left, which the log says once for each kind; the run goes on.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="background")
        self._room = threading.Semaphore(LARGE_TASKS)
        self._failed: set[str] = set()

    def submit(self, kind: str, task: Callable[[], None], is_large: bool = False) -> None:
        """Take a task.

        Args:
            kind: What it makes or writes, as a warning names it.
            task: To be called without arguments.
            is_large: Whether it holds a picture; of these at most one waits.
        """
        if is_large:
            self._room.acquire()
        self._pool.submit(self._do, kind, task, is_large)

    def close(self) -> None:
        """Wait for all tasks; none is taken after that."""
        self._pool.shutdown(wait=True)

    def _do(self, kind: str, task: Callable[[], None], is_large: bool) -> None:
        try:
            task()
        except Exception as error:  # of a disk or of a tracker, neither of which holds the weights
            if kind not in self._failed:
                log.warning("%s failed, the run goes on without: %s", kind, one_line(error))
            self._failed.add(kind)
        finally:
            if is_large:
                self._room.release()


def one_line(error: Exception) -> str:
    """Return kind and message of an error on one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
