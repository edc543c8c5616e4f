"""Files that visitors make: each has a folder of his own, and few files in it."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import threading
from collections import deque
from pathlib import Path

MAX_FILES = 24  # of one visitor; the oldest goes when another comes
MAX_API_FILES = 240  # of all who call the API together: a client must have the time to fetch its own
MAX_VISITORS = 500


class VisitorFiles:
    """Paths nobody can guess, below the folder that the server serves from.

    Args:
        root: Returns that folder.
    """

    def __init__(self, root) -> None:
        self._root = root
        self._secret = secrets.token_bytes(16)
        self._files: dict[str, deque[Path]] = {}
        self._lock = threading.Lock()

    def new(self, visitor: str | None, name: str) -> str:
        """Return a path for a file of this name.

        Args:
            visitor: Gradio's session hash; None is somebody who calls the API.
            name: Of the file, with its ending.
        """
        folder = self._folder(visitor) / secrets.token_hex(16)
        folder.mkdir(parents=True)
        with self._lock:
            files = self._files.setdefault(visitor or "", deque())
            files.append(folder)
            limit = MAX_API_FILES if visitor is None else MAX_FILES
            old = [files.popleft() for _ in range(len(files) - limit)]
            while len(self._files) > MAX_VISITORS:
                gone = next(iter(self._files))
                old.append(self._folder(gone))
                del self._files[gone]
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
        return str(folder / name)

    def forget(self, visitor: str | None) -> None:
        """Remove all that a visitor made."""
        with self._lock:
            self._files.pop(visitor or "", None)
        shutil.rmtree(self._folder(visitor), ignore_errors=True)

    def _folder(self, visitor: str | None) -> Path:
        token = hashlib.sha256(self._secret + (visitor or "").encode()).hexdigest()[:32]
        return Path(self._root()) / f"visit-{token}"
