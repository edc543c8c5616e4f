"""Pictures that are kept losslessly compressed in one file, and decoded by threads whenever they are asked for.

Shapes: N images, H W pixels.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from train.errors import RunError

PICTURES_FILE, ENDS_FILE = "images.packed", "ends.npy"
WEBP = {"format": "WEBP", "lossless": True, "method": 0, "quality": 0}  # the fastest to write
MOST_THREADS = 16


def pack_picture(picture: Image.Image) -> bytes:
    """Return an RGB picture losslessly compressed."""
    buffer = io.BytesIO()
    picture.save(buffer, **WEBP)
    return buffer.getvalue()


def unpack_picture(data: bytes) -> np.ndarray:
    """Return the pixels of ``pack_picture``. ``(3, H, W)`` uint8."""
    with Image.open(io.BytesIO(data), formats=(WEBP["format"],)) as picture:
        return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)


class PackedImages:
    """Compressed pictures that are indexed as the array ``(N, 3, R, R)`` uint8 they stand for.

    Args:
        folder: With ``images.packed`` and, of each picture in it, where it ends, ``ends.npy``.
        size: R in pixels.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, size: int) -> None:
        self.path = folder / PICTURES_FILE
        self._data = np.memmap(self.path, np.uint8, "r")
        self._ends = np.load(folder / ENDS_FILE, allow_pickle=False)
        self.shape = (len(self._ends), 3, size, size)
        self._coming: dict[int, Future] = {}

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def nbytes(self) -> int:
        """Bytes of the array that they stand for."""
        return int(np.prod(self.shape, dtype=np.int64))

    def prefetch(self, numbers: Sequence[int]) -> None:
        """Begin to decode the pictures that will be asked for next; they are held until other ones are announced."""
        self._coming = self._decoding(numbers)

    def __getitem__(self, key) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        numbers = np.arange(len(self))[first]
        decoding = self._decoding(numbers.ravel().tolist())
        pictures = np.empty((numbers.size, *self.shape[1:]), np.uint8)
        for place, number in enumerate(numbers.ravel().tolist()):
            pictures[place] = decoding[number].result()
        return pictures[0][tuple(rest)] if numbers.ndim == 0 else pictures[(slice(None), *rest)]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1), "decode")

    def _decoding(self, numbers: Iterable[int]) -> dict[int, Future]:
        """Return pictures that are decoded, or will soon be, by their numbers."""
        return {n: self._coming.get(n) or self._threads.submit(self._decode, n) for n in dict.fromkeys(numbers)}

    def _decode(self, number: int) -> np.ndarray:
        start, end = self._ends[number - 1] if number else 0, self._ends[number]
        try:
            return unpack_picture(self._data[start:end].tobytes())
        except Exception as error:  # decoders raise whatever their parsing stumbles on
            message = f"picture {number} in {self.path} is damaged, remove its folder: {type(error).__name__}"
            raise RunError(message) from None
