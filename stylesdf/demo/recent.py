"""The things that were made last, kept for who asks again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Recent:
    """A bounded cache for several threads; what nobody asked for longest goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], Any], limit: int) -> Any:
        """Return what is kept under a key, or make it; keep at most ``limit`` things. Making holds up nobody else."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > limit:
                self._kept.popitem(last=False)
        return made

    def drop(self, parts: set) -> None:
        """Let go of everything that has one of these in its key."""
        with self._lock:
            for key in [key for key in self._kept if not parts.isdisjoint(key)]:
                del self._kept[key]
