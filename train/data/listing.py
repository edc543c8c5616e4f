"""Which files of a folder or a zip are pictures to train on, and why the others are not."""

from __future__ import annotations

import os
import posixpath
import zipfile
from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from train.data.labels import METADATA_FILES, key_of

ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".qoi"),
)
OWN_FILES = (*METADATA_FILES, "toy_heads.json", "people.json")  # nothing is left out where these lie
HIDDEN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")  # besides what starts with a dot
HIDDEN_KIND, TWICE, OTHER_ENDING, BROKEN_LINK, CLOSED = (
    *("hidden", "there twice", "of other kinds", "links to nothing", "folders that cannot be read"),
)
SHOWN = 3


@dataclass
class Listing:
    """Files of a data set.

    Attributes:
        pictures: By a picture's name, with slashes: the path or the member it is read from; sorted by names.
        metadata: The same for files that may know something of pictures.
        left_out: By the reason, names.
    """

    pictures: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, kind: str, name: str) -> None:
        self.left_out.setdefault(kind, []).append(name)

    def take(self, name: str, place: str) -> None:
        """Sort a file in by its name."""
        base = posixpath.basename(name)
        if base in METADATA_FILES:
            self.metadata[name] = place
        elif base.lower().endswith(ENDINGS):
            self.pictures[name] = place
        elif base not in OWN_FILES:
            self.leave_out(OTHER_ENDING, name)

    def sort(self) -> Listing:
        self.pictures = dict(sorted(self.pictures.items(), key=lambda item: item[0].split("/")))
        self.left_out = {kind: sorted(names) for kind, names in sorted(self.left_out.items())}
        return self


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN


def list_folder(folder: Path) -> Listing:
    """Search a folder with its subfolders, linked ones too; every file is found once, if it can be not by a link."""
    listing = Listing()
    seen_folders, seen_files = {os.path.realpath(folder)}, set()
    linked_files: list[tuple[str, str]] = []
    linked = deque([("", os.path.realpath(folder))])
    while linked:
        start = linked.popleft()
        if start[0] and start[1] in seen_folders:
            listing.leave_out(TWICE, start[0])
            continue
        pending = [start]
        while pending:
            prefix, real = pending.pop()
            seen_folders.add(real)
            for name, entry in _entries(prefix, real, listing):
                path = os.path.join(real, entry.name)
                if os.path.isdir(path):
                    if entry.is_symlink():
                        linked.append((name, os.path.realpath(path)))
                    elif path not in seen_folders:  # a folder around this one leads to it again
                        pending.append((name, path))
                elif entry.is_symlink():
                    linked_files.append((name, os.path.realpath(path)))
                elif os.path.isfile(path):
                    seen_files.add(path)
                    listing.take(name, os.path.join(folder, name))
    for name, real in sorted(linked_files):
        if not os.path.isfile(real):
            listing.leave_out(BROKEN_LINK, name)
        elif real in seen_files and name.lower().endswith(ENDINGS):
            listing.leave_out(TWICE, name)
        else:
            seen_files.add(real)
            listing.take(name, os.path.join(folder, name))
    return listing.sort()


def _entries(prefix: str, real: str, listing: Listing) -> Iterator[tuple[str, os.DirEntry]]:
    """Yield what lies in a folder by names in the data set, without what is hidden."""
    try:
        with os.scandir(real) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        listing.leave_out(CLOSED, prefix or real)
        return
    for entry in entries:
        name = posixpath.join(prefix, entry.name)
        if is_hidden(entry.name):
            listing.leave_out(HIDDEN_KIND, name)
        else:
            yield name, entry


def list_zip(archive: zipfile.ZipFile) -> Listing:
    """List the members of a zip; of two with one name the last counts, as for every reader of zips."""
    listing = Listing()
    places: dict[str, str] = {}
    hidden = set()
    for info in archive.infolist():
        name = key_of(info.filename).lstrip("/")
        parts = name.split("/")
        first_hidden = next((n for n, part in enumerate(parts, 1) if is_hidden(part) and part not in (".", "..")), 0)
        if first_hidden:
            hidden.add("/".join(parts[:first_hidden]))
        elif not info.filename.endswith(("/", "\\")):
            if name in places:
                listing.leave_out(TWICE, name)
            places[name] = info.filename
    for name in sorted(hidden):
        listing.leave_out(HIDDEN_KIND, name)
    for name, place in places.items():
        listing.take(name, place)
    return listing.sort()


def summary(taken: int, left_out: dict[str, Collection[str]]) -> str:
    """Say in one line how many pictures were taken, and what was left out and why: counts, and the first names."""
    if not left_out:
        return f"{taken} pictures taken, nothing left out"
    parts = []
    for kind, names in left_out.items():
        names = list(names)
        if kind == OTHER_ENDING:
            endings = Counter(posixpath.splitext(name)[1].lower() or "no ending" for name in names)
            shown = [f"{count} {ending}" for ending, count in endings.most_common(SHOWN + 2)]
            more = len(endings) > SHOWN + 2
        else:
            shown, more = [name[-80:] for name in names[:SHOWN]], len(names) > SHOWN
        parts.append(f"{len(names)} {kind} ({', '.join(shown)}{', …' if more else ''})")
    return f"{taken} pictures taken, {sum(map(len, left_out.values()))} left out: {'; '.join(parts)}"
