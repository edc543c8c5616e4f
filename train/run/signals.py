"""Being asked to stop: the step in hand is finished and the run is saved first."""

from __future__ import annotations

import signal
import time

TOGETHER = 2.0  # seconds within which a signal is the same request: launchers pass on what processes got themselves


class Stopped(Exception):
    """A run was asked to stop, and has saved its state.

    Attributes:
        signal_number: ``SIGINT`` or ``SIGTERM``.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class StopRequest:
    """Notes SIGINT and SIGTERM while it is entered; one that comes again later has its usual effect."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, object] = {}
        self._times: dict[int, float] = {}  # of the first of each

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread, where signals cannot be had
                break
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        self.signal_number = number
        if time.monotonic() - self._times.setdefault(number, time.monotonic()) > TOGETHER:
            signal.signal(number, self._previous[number])
            signal.raise_signal(number)
