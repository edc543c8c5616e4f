"""How long things take on this machine, from how long they took."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref

MEMORY = 0.7  # weight of what was measured before


class Pace:
    """Seconds per unit of each kind of work, for each model; those of a model go with it."""

    def __init__(self) -> None:
        self._seconds: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # model → kind → seconds
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def measuring(self, model, kind: str, units: float):
        """Measure the block as so many units of a kind of work; one that fails is not counted."""
        start = time.perf_counter()
        yield
        self.add(model, kind, units, time.perf_counter() - start)

    def add(self, model, kind: str, units: float, seconds: float) -> None:
        """Count what was measured elsewhere."""
        with self._lock:
            known = self._seconds.setdefault(model, {})
            old, new = known.get(kind), seconds / units
            known[kind] = new if old is None else MEMORY * old + (1.0 - MEMORY) * new

    def estimate(self, model, kind: str, units: float) -> float | None:
        """Return the seconds that so many units will take; None where none was measured."""
        per_unit = self._seconds.get(model, {}).get(kind)
        return None if per_unit is None else per_unit * units


def in_words(seconds: float | None) -> str:
    """Say a duration as people do."""
    if seconds is None:
        return "a while"
    if seconds < 1.0:
        return "less than a second"
    if seconds < 90.0:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60.0:.0f} min"
