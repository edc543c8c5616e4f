"""Files that are there in full or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` to write to; move it there on success, remove it on failure.

    Missing folders are made, and removed again on failure.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        with contextlib.suppress(OSError):  # not ours if somebody else has put something there
            for folder in missing:
                folder.rmdir()
        raise
