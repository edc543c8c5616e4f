"""Files: written in full or not at all, and named for what they are."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path


def check_ending(path: str | os.PathLike, endings: Sequence[str]) -> Path:
    """Return the path if its name ends in one of the endings, whatever the case.

    Args:
        path: Of a file.
        endings: Each with its dot, in lower case.

    Raises:
        ValueError: It does not; the message lists them.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise ValueError(f"the file is {path.name!r}, expected an ending of {', '.join(endings)}")
    return path


def sent_instead(head: bytes) -> str:
    """Name what Git or a server leaves in place of a file, by its beginning; empty where it is nothing of that kind."""
    text = _beginning(head).lower()
    if text.startswith("version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer in place of the file: run `git lfs pull` where it came from"
    if text.startswith("<") and re.search(r"<(!doctype html|html|head|body|title|script|meta)\b", text):
        return "an HTML page in place of the file, as servers send it with an error, a warning or for a login"
    if re.match(r"<(\?xml|error)\b", text) and "<svg" not in text:
        return "an XML text in place of the file, as servers send it with an error"
    return ""


def text_instead(head: bytes) -> str:
    """Name a text, or nothing at all, that lies where numbers are expected; empty where it may be numbers."""
    if not head:
        return "an empty file"
    text = _beginning(head)
    if text.startswith(("{", "[")):
        return f"a JSON text in place of the file, as servers send it with an error: {_quoted(text)}"
    return sent_instead(head) or (f"a text in place of the file: {_quoted(text)}" if text else "")


def _beginning(head: bytes) -> str:
    """Return the first kilobyte as text without what stands before it; empty where it is no text."""
    encoding = "utf-16" if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head[:1024])  # the last character may be cut
    except UnicodeDecodeError:
        return ""
    return "" if re.search(r"[\x00-\x08\x0e-\x1f]", text) else text.strip()


def _quoted(text: str) -> str:
    return repr(" ".join(text.split())[:80])


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` to write to; move it there on success, remove it on failure.

    Missing folders are made, and removed again on failure. The temporary name is hidden and short, whatever ``path`` is
    called, and keeps its ending. An error of the system names ``path``.
    """
    ending = path.suffix if len(path.suffix) <= 16 else ""
    with _moved(path.with_name(f".stylesdf-{secrets.token_hex(4)}{ending}"), path) as temporary:
        yield temporary


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to write to; move it there on success, remove it on failure.

    As ``replacing``, but the hidden name is the same each time, so that what a killed process has left goes with the
    next. ``path`` must not exist, or be an empty folder, in the end.
    """
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    with _moved(path.with_name(f".partial-{digest}"), path) as temporary:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary


@contextlib.contextmanager
def _moved(temporary: Path, path: Path) -> Iterator[Path]:
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()  # Windows moves a folder to where none is, not even an empty one
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
        with contextlib.suppress(OSError):  # not ours if somebody else has put something there
            for folder in missing:
                folder.rmdir()
        is_ours = isinstance(error, OSError) and (
            error.filename is None or str(error.filename).startswith(str(temporary))
        )
        if is_ours and error.errno is not None:
            error.filename = str(path)
        raise
