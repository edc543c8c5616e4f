"""Files of the page: each visitor has a folder of his own with few files in it; pictures that many see lie together."""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
import threading
from collections import OrderedDict, deque
from pathlib import Path

from PIL import Image

from stylesdf.files import replacing

MAX_FILES = 24  # of one visitor; the oldest goes when another comes
MAX_VIEWS = 8  # the same of pictures that are drawn at every turn
MAX_API_FILES = 240  # of all who call the API together: a client must have the time to fetch its own
MAX_VISITORS = 500
MAX_PICTURES = 1000  # of everybody; one that goes is written again when it is asked for


class VisitorFiles:
    """Paths nobody can guess, below the folder that the server serves from.

    Args:
        root: Returns that folder.
    """

    def __init__(self, root) -> None:
        self._root = root
        self._secret = secrets.token_bytes(16)
        # what was made, and views; who made nothing for longest stands first
        self._files: OrderedDict[str, tuple[deque[Path], deque[Path]]] = OrderedDict()
        self._lock = threading.Lock()

    def new(self, visitor: str | None, name: str, is_view: bool = False) -> str:
        """Return a path for a file of this name.

        Args:
            visitor: Gradio's session hash; None is somebody who calls the API.
            name: Of the file, with its ending.
            is_view: It is drawn at every turn of the head, and takes the place of another view only.
        """
        folder = self._folder(visitor) / secrets.token_hex(16)
        folder.mkdir(parents=True)
        with self._lock:
            files = self._of(visitor)[is_view]
            files.append(folder)
            limit = MAX_API_FILES if visitor is None else MAX_VIEWS if is_view else MAX_FILES
            old = [files.popleft() for _ in range(len(files) - limit)]
            while len(self._files) > MAX_VISITORS:
                gone = next(name for name in self._files if name)  # callers of the API are many
                old.append(self._folder(gone))
                del self._files[gone]
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
        return str(folder / name)

    def held(self, visitor: str | None, name: str) -> Path:
        """Return the one path of a file of this name, which stays until the visitor leaves."""
        folder = self._folder(visitor) / "held"
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._of(visitor)
        return folder / name

    def forget(self, visitor: str | None) -> None:
        """Remove all that a visitor made."""
        with self._lock:
            self._files.pop(visitor or "", None)
        shutil.rmtree(self._folder(visitor), ignore_errors=True)

    def _of(self, visitor: str | None) -> tuple[deque[Path], deque[Path]]:
        files = self._files.setdefault(visitor or "", (deque(), deque()))
        self._files.move_to_end(visitor or "")
        return files

    def _folder(self, visitor: str | None) -> Path:
        token = hashlib.sha256(self._secret + (visitor or "").encode()).hexdigest()[:32]
        return Path(self._root()) / f"visit-{token}"


class PictureFiles:
    """Pictures under names made of their content, each written once and never again while it is there.

    Gradio writes a picture that it is given anew each time, under such a name too: a browser that loads it meanwhile
    gets half of it.

    Args:
        root: Returns the folder that the server serves from.
    """

    def __init__(self, root) -> None:
        self._root = root
        self._paths: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    def path(self, picture: Image.Image) -> str:
        """Return the path of a picture as PNG."""
        name = hashlib.sha256(repr((picture.mode, picture.size)).encode() + picture.tobytes()).hexdigest()[:40]
        with self._lock:
            path = self._paths.pop(name, None) or Path(self._root()) / "pictures" / f"{name}.png"
            if not path.is_file():
                content = io.BytesIO()
                picture.save(content, format="png")
                with replacing(path) as temporary:
                    temporary.write_bytes(content.getvalue())
            self._paths[name] = path
            while len(self._paths) > MAX_PICTURES:
                self._paths.popitem(last=False)[1].unlink(missing_ok=True)
        return str(path)
