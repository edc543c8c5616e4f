"""What a visitor's browser needs to draw a model's heads by itself: the live viewer's script, and a file per model."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stylesdf.files import replacing
from stylesdf.live.export import FOLDER, check_model, pack
from stylesdf.pipeline import StyleSDF
from stylesdf.repository import HUB_ID

# the live page without its controls and its decoder
SCRIPTS = ("random.js", "model.js", "scene.js", "renderer.js")
SHADERS = ("field.glsl", "guide.glsl", "trace.glsl", "normals.glsl", "light.glsl", "shade.glsl")
NAMES = ("Model", "Renderer", "firstScene", "needsNormals", "viewOf")
SPACES_URL = "https://huggingface.co/spaces/"
LIVE_VARIABLE = "STYLESDF_LIVE"  # a Space with the live page, owner/name


def live_link() -> str:
    """Return Markdown that links the Space that ``STYLESDF_LIVE`` names; empty where it names none."""
    found = HUB_ID.fullmatch(os.environ.get(LIVE_VARIABLE, ""))
    if not found or found["revision"]:
        return ""
    return f" [Heads that your own browser draws]({SPACES_URL}{found['repo_id']})."


def viewer_script() -> str:
    """Return JavaScript that defines ``viewer``: the live page's classes and shaders, for another page's use."""
    sources = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    shaders = json.dumps({Path(name).stem: (FOLDER / name).read_text(encoding="utf-8") for name in SHADERS})
    return f"const viewer = (() => {{\n{sources}\nreturn {{ {', '.join(NAMES)}, shaders: {shaders} }}\n}})()\n"


def without_decoder(header: dict, data: bytes) -> tuple[dict, bytes]:
    """Leave out the decoder's tensors, which come last in what ``pack`` returns."""
    tensors = [tensor for tensor in header["tensors"] if not tensor["name"].startswith(("ws_avg", "decoder"))]
    size = sum(math.prod(tensor["shape"]) for tensor in tensors) * np.dtype(header["dtype"]).itemsize
    return {**header, "decoder": None, "tensors": tensors}, data[:size]


class LiveFiles:
    """Models as files for the browser, made when they are first asked for.

    A file holds the length of its header (four bytes, little-endian), the header as JSON and the weights, as
    ``stylesdf.live.export.pack`` gives them, without the decoder, which the server has. Its name says what it holds, so
    that a browser may keep it for good.

    Args:
        root: Returns the folder that the server serves from.
    """

    def __init__(self, root: Callable[[], str]) -> None:
        self._root = root
        self._paths: weakref.WeakKeyDictionary[StyleSDF, Path] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()  # a model may go, and its file, while another one is written

    def path(self, model: StyleSDF) -> str:
        """Return a model's file; it goes with the model.

        Raises:
            ValueError: A model that a browser cannot draw.
        """
        check_model(model)
        with self._lock:
            path = self._paths.get(model)
            if path is None or not path.is_file():
                path = self._paths[model] = self._write(model)
                weakref.finalize(model, self._remove, path)
            return str(path)

    def _remove(self, path: Path) -> None:
        with self._lock:
            if path not in self._paths.values():  # else the same model has been loaded once more
                path.unlink(missing_ok=True)

    def _write(self, model: StyleSDF) -> Path:
        header, data = without_decoder(*pack(model))
        text = json.dumps(header).encode()
        content = len(text).to_bytes(4, "little") + text + data
        path = Path(self._root()) / "live" / f"{hashlib.sha256(content).hexdigest()[:32]}.bin"
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return path
