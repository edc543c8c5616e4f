"""What commands write: files that are checked before any work is done, pictures, tables, progress, errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stylesdf.files import check_ending, replacing
from stylesdf.version import __version__


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made, before any work is done."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise ValueError(f"cannot write to {path}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write to {path}: {existing} is read-only")


def check_file(path: Path, endings: Sequence[str]) -> None:
    """Refuse a file that cannot be written, or that ends otherwise."""
    check_ending(path, endings)
    if path.is_dir():
        raise ValueError(f"cannot write to {path}: it is a folder")
    check_folder(path.absolute().parent)


def save_png(picture: Image.Image, path: Path, about: dict) -> None:
    """Write a picture with what is said about it as text fields, and print its path."""
    text = PngInfo()
    text.add_text("Software", f"stylesdf {__version__}")
    for name, value in about.items():
        text.add_itxt(name, str(value))
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=text)
    print(path)


def print_table(title: str, rows: dict) -> None:
    """Print names and values in two columns, indented below a title where there is one."""
    if title:
        print(f"\n{title}")
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{'  ' if title else ''}{name:<{width}}  {value}")


def progress(items: Iterable | None, about: str, total: int | None = None):
    """Return the items with a bar, on a terminal only."""
    from tqdm import tqdm

    return tqdm(items, desc=about, total=total, file=sys.stderr, disable=None)


class ProgressBar:
    """A bar that is called with the share that is done."""

    def __init__(self, about: str) -> None:
        self.bar = progress(None, about, 100)

    def __call__(self, share: float) -> None:
        self.bar.update(round(100 * share) - self.bar.n)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception) -> None:
        self.bar.close()


def describe(error: BaseException) -> str:
    """Return what an error says, with the file where the system names one."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
